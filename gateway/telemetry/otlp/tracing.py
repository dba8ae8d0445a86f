"""Which connections and requests are traced, and with which trace and span ids.

This is decided before anything is made for a trace: by the connection's id, which is random, or by the client if it
traces itself. A request belongs to its client's trace if it names one, else to its connection's. A connection's span
and trace ids follow from the connection's own id, so that whoever exports something of it can compute them.
"""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.model.decision import Deny
from gateway.model.record import Draft, ExchangeDraft
from gateway.telemetry.sealing import reason_of

_BITS = 64
_MASK = (1 << _BITS) - 1
_ODD = 0x9E3779B97F4A7C15  # maps small numbers one to one onto 64 bits


class Numbers(NamedTuple):
    """The ids of a span. `parent` is the id of its parent span, None where the trace begins; `is_remote`: the parent is
    the client's."""

    trace: int
    span: int
    parent: int | None
    is_remote: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """`share` of those that no client traces, 0 to 1; `denied` and `failed`: all of these as well."""

    share: float = 0.01
    denied: bool = True
    failed: bool = True

    def wants(self, draft: Draft | ExchangeDraft) -> bool:
        """Whether it is traced."""
        connection = draft if isinstance(draft, Draft) else draft.connection
        if connection.traced and draft is connection:
            return True
        caller = draft.caller or connection.caller
        if caller is not None and caller.sampled:
            return True
        if caller is None and _number(connection) < self.share * (_MASK + 1):
            return True
        return self._always(draft)

    def _always(self, draft: Draft | ExchangeDraft) -> bool:
        if isinstance(draft.decision, Deny):
            return self.denied
        reason = reason_of(draft)
        return self.failed and reason is not None


@dataclass(frozen=True, slots=True)
class Numbering:
    """`process` is random, 64 bits and not 0: the first half of the ids of traces that begin in this process."""

    process: int

    def of(self, draft: Draft | ExchangeDraft) -> Numbers:
        """The ids of the draft's own span."""
        connection = draft if isinstance(draft, Draft) else draft.connection
        number = _number(connection)
        trace = connection.caller.trace_id if connection.caller else self.process << _BITS | number
        if isinstance(draft, Draft):
            return Numbers(trace, number, draft.caller.span_id if draft.caller else None, is_remote=True)
        span = (number ^ draft.number * _ODD) & _MASK or 1
        if draft.caller is not None:
            return Numbers(draft.caller.trace_id, span, draft.caller.span_id, is_remote=True)
        return Numbers(trace, span, number)


def _number(connection: Draft) -> int:
    return int(connection.connection_id, 16) or 1
