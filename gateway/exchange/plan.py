"""What follows from a request alone, whoever may send it where.

Many clients send one request again and again: each connection keeps the plan of its last one, and uses it for the next
if the two are equal. Where only the target differs, or values from which nothing follows, the rest is used again.
"""

from dataclasses import dataclass
from itertools import compress, count
from operator import ne

from gateway.exchange.fields import MOST_KEPT, has_come_by, request_fields, size_of, sort_request, wants_websocket
from gateway.exchange.hops import hops_left, with_hops
from gateway.exchange.inlet import HeadFields
from gateway.model.errors import DownstreamError
from gateway.wire.http.messages import Framing, Request
from gateway.wire.http.writing import field_lines, whole_head
from gateway.wire.http2 import heads as http2
from gateway.wire.target import MalformedTarget, Target, parse_target

_LONGEST_KEPT = 4096  # characters of a target
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110 section 9.2.2
_TELLING = frozenset(("connection", "proxy-connection", "host", "via", "upgrade", "max-forwards"))
"""Fields from whose values something follows here. (Of the others it may be their name: whether they pass.)"""


@dataclass(slots=True)
class RequestPlan:
    """`path` is the target's; `host` is the value of Host, None without one. `passing` are the fields that are
    forwarded, `places` those that they have among all, which take `size` bytes; `hops` is the count of Max-Forwards,
    where it applies; `loops`: the request has been here before; `via` is our pseudonym; `is_repeatable`: it may be sent
    twice, and has no content, which is not held. `inspected` is the result of a rule that inspects requests."""

    request: Request
    via: str
    target: Target
    path: str
    host: str | None
    passing: list[tuple[str, str]]
    places: list[int]
    size: int
    is_persistent: bool
    websocket: bool
    hops: int | None
    loops: bool
    is_repeatable: bool
    inspected: object = None
    _lines: list[str] | None = None
    _head: tuple[str, bytes] | None = None
    _http2: tuple[str, HeadFields] | None = None

    def head(self, host: str) -> bytes:
        """The head sent to the destination. `host` is the one that was judged."""
        if self._head is None or self._head[0] != host:
            if self._lines is None:
                self._lines = field_lines(self._sent(self.passing))
            self._head = host, self._whole(host, self._lines)
        return self._head[1]

    def changed_head(self, host: str, passing: list[tuple[str, str]]) -> bytes:
        """The same with these fields. They may hold secrets, so it is not kept."""
        return self._whole(host, field_lines(self._sent(passing)))

    def _whole(self, host: str, lines: list[str]) -> bytes:
        """Host is to be the first field (RFC 9110 section 7.2)."""
        return whole_head([f"{self.request.method} {self.target.resource} HTTP/1.1", f"Host: {host}", *lines])

    def renewed(self, request: Request, target: Target) -> "RequestPlan | None":
        """The plan of a request that differs only in its target and in values that tell nothing; None if it differs in
        more."""
        before, size = self.request, self.size
        passing, lines = self.passing.copy(), None if self._lines is None else self._lines.copy()
        if _apart_from_fields(request) != _apart_from_fields(before) or len(request.fields) != len(before.fields):
            return None
        for place in compress(count(), map(ne, request.fields, before.fields)):
            field, old = request.fields[place], before.fields[place]
            if field[0] != old[0] or field[0].lower() in _TELLING:
                return None
            size += len(field[1]) - len(old[1])
            if place in self.places:
                at = self.places.index(place)
                passing[at] = field
                if lines is not None:
                    lines[at] = ": ".join(field)
        return RequestPlan(
            request,
            self.via,
            target,
            target.path,
            self.host,
            passing,
            self.places,
            size,
            self.is_persistent,
            self.websocket,
            self.hops,
            self.loops,
            self.is_repeatable,
            _lines=lines,
        )

    def http2_head(self, host: str, passing: list[tuple[str, str]] | None) -> HeadFields:
        """For a destination that speaks HTTP/2. With the client's fields if `passing` is None; only then it is kept."""
        if passing is not None:
            return self._http2_fields(passing, host)
        if self._http2 is None or self._http2[0] != host:
            self._http2 = host, self._http2_fields(self.passing, host)
        return self._http2[1]

    def _http2_fields(self, passing: list[tuple[str, str]], host: str) -> HeadFields:
        request, fields = self.request, self._sent(passing)
        return http2.request_fields(request.method, host, self.target.resource, fields, request, self.websocket)

    def _sent(self, passing: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if self.hops is not None:
            passing = with_hops(passing, self.hops - 1)
        return request_fields(self.request, passing, self.via, self.websocket)


def plan_request(request: Request, via: str, last: RequestPlan | None = None, is_secure: bool = False) -> RequestPlan:
    """`via` is our pseudonym. `last` is the plan of the request before, which is the answer if both requests are equal;
    under another pseudonym it is not used. `is_secure`: it came inside TLS. Raises `DownstreamError` for a request that
    is never forwarded."""
    if last is not None and last.via != via:
        last = None
    if last is not None and last.request == request:
        return last
    try:
        target = parse_target(request.target, request.method, is_secure)
    except MalformedTarget as malformed:
        raise DownstreamError(malformed.reason, malformed.detail) from malformed
    renewed = None if last is None else last.renewed(request, target)
    if renewed is not None:
        return renewed
    fields = sort_request(request)
    passing, hosts = fields.passing, fields.held.get("host")
    return RequestPlan(
        request=request,
        via=via,
        target=target,
        path=target.path,
        host=hosts[0] if hosts else None,
        passing=passing,
        places=fields.places,
        size=size_of(request.fields),
        is_persistent=fields.is_persistent(request.minor),
        websocket=wants_websocket(request, fields),
        hops=hops_left(request, passing),
        loops=has_come_by(fields, via),
        is_repeatable=request.method in _REPEATABLE and request.framing.is_empty,
    )


def kept(plan: RequestPlan) -> RequestPlan | None:
    """What a connection keeps until its next request, which it may await for an hour: nothing of a large one."""
    return None if len(plan.request.target) > _LONGEST_KEPT or plan.size > MOST_KEPT else plan


def _apart_from_fields(request: Request) -> tuple[str, int, Framing, bool]:
    """And from the target."""
    return request.method, request.minor, request.framing, request.is_http2
