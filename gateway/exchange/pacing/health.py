"""What responses say about a destination's health: how long it wants to be left alone, and whether it fails. One that
accepts connections and cannot answer has failed as well."""

from gateway.exchange.upstream import UpstreamSide
from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Breakers, Limiter
from gateway.wire.http.messages import Response
from gateway.wire.http.retry import parse_retry_after
from gateway.wire.replies import asks_to_wait, is_out_of_order

UNANSWERED = frozenset((Reason.RESPONSE_TIMEOUT, Reason.CONNECTION_TERMINATED, Reason.UPSTREAM_RESET))


def heed_retry_after(response: Response, permit: Permit, client: Client, limiter: Limiter, now: float) -> None:
    """Honour a destination's Retry-After, as the rule says. `now` is Unix time in seconds."""
    if asks_to_wait(response.status):
        seconds = parse_retry_after(response.values("retry-after"), now)
        if seconds:
            limiter.hold_off(permit, client, seconds)


def note_answer(breakers: Breakers | None, permit: Permit, upstream: UpstreamSide, status: int) -> bool:
    """Tell the breaker. False: the response counts as a failure, and its connection is not to be kept, so that the next
    request has to dial and thus to ask the breaker."""
    if breakers is None or permit.terms.breaker is None:
        return True
    answers_well = not is_out_of_order(status)
    breakers.answered(permit, upstream.dialled.address, answers_well)
    if not answers_well:
        upstream.retire()
    return answers_well


def note_failure(breakers: Breakers | None, permit: Permit, upstream: UpstreamSide, failure: BaseException) -> None:
    """Tell the breaker of an exchange that got no response, whose connection is not to be kept either. A connection
    that was kept may always end."""
    if breakers is None or permit.terms.breaker is None or not isinstance(failure, UpstreamError):
        return
    may_end = upstream.is_reused and failure.reason is Reason.CONNECTION_TERMINATED
    if failure.reason in UNANSWERED and not may_end:
        breakers.answered(permit, upstream.dialled.address, False)
        upstream.retire()


def note_handshake(breakers: Breakers | None, permit: Permit, address: Address, failure: BaseException) -> None:
    """Tell the breaker of a TLS handshake that a destination did not answer. One that it refuses, or in which it does
    not prove who it is, is an answer."""
    if breakers is None or permit.terms.breaker is None or not isinstance(failure, UpstreamError):
        return
    if failure.reason in (Reason.UPSTREAM_TLS_TIMEOUT, Reason.CONNECTION_TERMINATED):
        breakers.answered(permit, address, False)
