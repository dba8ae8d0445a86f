"""`traceparent` of W3C Trace Context, level 1: what a client says of the trace that it is part of."""

import re
from collections.abc import Sequence

from gateway.model.client import TraceParent

_VERSION_00 = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?", re.ASCII)
_SAMPLED = 1


def parse_traceparent(values: Sequence[str]) -> TraceParent | None:
    """Of all lines of the field. None for anything but one that is right to the letter: then a trace begins here.

    A later version is read as far as this one goes, as section 4.3 asks for; `ff` is none.
    """
    if len(values) != 1:
        return None
    match = _VERSION_00.fullmatch(values[0])
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == "ff" or (rest is not None and version == "00") or not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
