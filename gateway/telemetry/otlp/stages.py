"""When the stages of a connection or a request began and ended, from its draft. All instants are Unix time in seconds.
A stage whose end was not noted is left out."""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.model.decision import Permit
from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft, ExchangeDraft
from gateway.telemetry.sealing import reason_of

_OF_NAMES = frozenset((Reason.DNS_NAME_NOT_FOUND, Reason.DNS_NO_ADDRESS, Reason.DNS_FAILURE, Reason.DNS_TIMEOUT))
_OF_DIALS = frozenset(
    (
        Reason.CONNECTION_REFUSED,
        Reason.CONNECTION_UNROUTABLE,
        Reason.CONNECTION_TIMEOUT,
        Reason.LOCAL_PORTS_EXHAUSTED,
        Reason.PROXY_LOOP,
    )
)

_OF_OPENINGS = frozenset(
    (
        Reason.CLIENT_SILENT,
        Reason.CLIENT_HELLO_TIMEOUT,
        Reason.MALFORMED_CLIENT_HELLO,
        Reason.CLIENT_HELLO_TOO_LARGE,
        Reason.PROTOCOL_MISMATCH,
        Reason.SNI_MISSING,
        Reason.SNI_MISMATCH,
        Reason.SNI_DENIED,
        Reason.ECH_DENIED,
    )
)


class Stage(NamedTuple):
    """`failed`: the connection ended here, for its reason."""

    name: str
    began: float
    ended: float
    failed: bool = False


def stages_of(draft: Draft | ExchangeDraft, ended_at: float) -> Iterator[Stage]:
    """In order; `ended_at` is monotonic, as in the draft. `policy` lasts from the end of the head, through identity and
    verdict, to the lease."""
    asked = draft.asked_time
    if asked is None:
        return
    offset, end = draft.started_time - draft.started_at, draft.started_time + ended_at - draft.started_at
    dialled = draft.dialled
    if dialled is None:
        yield from _broken_off(draft, asked, end)
    elif dialled.dialled_at is not None and not (isinstance(draft, ExchangeDraft) and draft.reused):
        yield from _reached(draft, dialled, asked, offset, end)


def _broken_off(draft: Draft | ExchangeDraft, asked: float, end: float) -> Iterator[Stage]:
    """Nothing was reached: the stage that failed lasted to the end."""
    if not isinstance(draft.decision, Permit):
        yield Stage("policy", asked, end, failed=True)
        return
    reason = reason_of(draft)
    if reason in _OF_NAMES or reason in _OF_DIALS:
        yield Stage("policy", asked, asked)
        yield Stage("dns" if reason in _OF_NAMES else "dial", asked, end, failed=True)


def _reached(
    draft: Draft | ExchangeDraft, dialled: Dialled, asked: float, offset: float, end: float
) -> Iterator[Stage]:
    dialling = (dialled.dialled_at or 0.0) + offset
    resolving = dialling - (dialled.resolve_seconds or 0.0)
    reached = dialling + dialled.dial_seconds
    failed = reason_of(draft) is not None
    yield Stage("policy", min(asked, resolving), resolving)
    if dialled.resolve_seconds is not None:
        yield Stage("dns", resolving, dialling)
    yield Stage("dial", dialling, reached)
    if isinstance(draft, ExchangeDraft):
        yield Stage("relay", reached, end, failed)
        return
    if draft.opened_at is None and draft.reason in _OF_OPENINGS:
        yield Stage("tls", reached, end, failed)
        return
    opened = reached if draft.opened_at is None else draft.opened_at + offset
    if draft.opened_at is not None and draft.opening is not None and draft.opening.hello is not None:
        yield Stage("tls", reached, opened)
    if not draft.requests:
        yield Stage("relay", opened, end, failed)
