"""What a failure means for the record, of a connection and of an exchange alike."""

from gateway.model.errors import DownstreamError, GatewayError, Refused, UpstreamError
from gateway.model.exchange import ExchangeDraft
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, Side

_ABOUT_CREDENTIALS = frozenset({Reason.CREDENTIALS_MISSING, Reason.CREDENTIALS_INVALID})
_SLOW = frozenset({Reason.HEAD_TIMEOUT, Reason.BODY_TIMEOUT, Reason.CLIENT_SILENT, Reason.CLIENT_HELLO_TIMEOUT})


def note(error: GatewayError, draft: Draft | ExchangeDraft) -> None:
    """Why it ended, how, and by whom."""
    draft.reason, draft.detail = error.reason, error.detail
    transfer = draft.transfer
    match error:
        case Refused():
            draft.decision = error.denial
            transfer.ended, transfer.ended_by = Ended.REFUSED, Side.GATEWAY
        case DownstreamError():
            transfer.ended, transfer.ended_by = _ended_by_client(error.reason), Side.DOWNSTREAM
        case UpstreamError():
            slow = error.reason is Reason.RESPONSE_TIMEOUT
            transfer.ended, transfer.ended_by = Ended.TIMEOUT if slow else Ended.FAILED, Side.UPSTREAM
        case _:
            transfer.ended, transfer.ended_by = Ended.FAILED, Side.GATEWAY


def _ended_by_client(reason: Reason) -> Ended:
    if reason is Reason.CLIENT_CLOSED:
        return Ended.CLOSED
    if reason is Reason.DOWNSTREAM_RESET:
        return Ended.RESET
    return Ended.TIMEOUT if reason in _SLOW else Ended.REFUSED if reason in _ABOUT_CREDENTIALS else Ended.FAILED
