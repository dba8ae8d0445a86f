"""Notes an error in a draft: its class says how the connection or the request ended, and by whom."""

from gateway.model.errors import DownstreamError, GatewayError, Refused, UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, ExchangeDraft, Side

ABOUT_CERTIFICATES = frozenset({Reason.CLIENT_CERTIFICATE_MISSING, Reason.CLIENT_CERTIFICATE_INVALID})
ABOUT_CREDENTIALS = ABOUT_CERTIFICATES | {
    Reason.CREDENTIALS_MISSING, Reason.CREDENTIALS_INVALID, Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED,
    Reason.PROXY_HEADER_REFUSED,
}  # fmt: skip
WRONG_CREDENTIALS = frozenset({Reason.CREDENTIALS_INVALID, Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED})
_SLOW = frozenset((
    Reason.HEAD_TIMEOUT, Reason.TLS_HANDSHAKE_TIMEOUT, Reason.BODY_TIMEOUT, Reason.IDLE_TIMEOUT, Reason.CLIENT_SILENT,
    Reason.CLIENT_HELLO_TIMEOUT))  # fmt: skip
_SLOW_UPSTREAM = frozenset((
    Reason.DNS_TIMEOUT, Reason.CONNECTION_TIMEOUT, Reason.UPSTREAM_TLS_TIMEOUT, Reason.RESPONSE_TIMEOUT))  # fmt: skip


def note(error: GatewayError, draft: Draft | ExchangeDraft) -> None:
    """Note why it ended, how, and by whom."""
    draft.reason, draft.detail = error.reason, error.detail
    transfer = draft.transfer
    match error:
        case Refused():
            draft.decision = error.denial
            transfer.ended, transfer.ended_by = Ended.REFUSED, Side.GATEWAY
        case DownstreamError():
            transfer.ended, transfer.ended_by = _ended_by_client(error.reason), Side.DOWNSTREAM
        case UpstreamError():
            was_answered = draft.status is not None
            transfer.ended, transfer.ended_by = _ended_by_destination(error.reason, was_answered), Side.UPSTREAM
        case _:
            transfer.ended = Ended.TIMEOUT if error.reason in _SLOW else Ended.FAILED
            transfer.ended_by = Side.GATEWAY


def note_cut(draft: Draft | ExchangeDraft, reason: Reason) -> None:
    """Note that it was cut off before its end, for a reason that nobody outside gave."""
    draft.reason = reason
    is_over = reason is Reason.LIFETIME_REACHED
    draft.transfer.ended, draft.transfer.ended_by = Ended.TIMEOUT if is_over else Ended.RESET, Side.GATEWAY


def _ended_by_client(reason: Reason) -> Ended:
    if reason is Reason.CLIENT_CLOSED:
        return Ended.CLOSED
    if reason is Reason.DOWNSTREAM_RESET:
        return Ended.RESET
    return Ended.TIMEOUT if reason in _SLOW else Ended.REFUSED if reason in ABOUT_CREDENTIALS else Ended.FAILED


def _ended_by_destination(reason: Reason, was_answered: bool) -> Ended:
    """A reset in place of an answer is a failure, as is the end of the connection."""
    if reason is Reason.UPSTREAM_RESET and was_answered:
        return Ended.RESET
    return Ended.TIMEOUT if reason in _SLOW_UPSTREAM else Ended.FAILED
