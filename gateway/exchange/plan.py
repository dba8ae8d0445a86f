"""What follows from a request alone, whoever may send it where.

Many clients send one request again and again: each connection keeps the plan of its last one, and uses it for the next
if the two are equal. Where only the target differs, what follows from the fields is used again.
"""

from dataclasses import dataclass

from gateway.exchange.fields import are_large, has_come_by, request_fields, sort_request, wants_websocket
from gateway.exchange.hops import hops_left, with_hops
from gateway.exchange.inlet import HeadFields
from gateway.model.errors import DownstreamError
from gateway.wire.http.messages import Request
from gateway.wire.http.writing import field_lines, request_opening
from gateway.wire.http2 import heads as http2
from gateway.wire.target import MalformedTarget, Target, parse_target

_LONGEST_KEPT = 4096  # characters of a target
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110 section 9.2.2


@dataclass(slots=True)
class RequestPlan:
    """`host` is the value of Host, None without one. `passing` are the fields that are forwarded; `hops` is the count
    of Max-Forwards, where it applies; `loops`: the request has been here before; `via` is our pseudonym;
    `is_repeatable`: it may be sent twice, and has no content, which is not held. `inspected` is the result of a rule
    that inspects requests."""

    request: Request
    via: str
    target: Target
    host: str | None
    passing: list[tuple[str, str]]
    is_persistent: bool
    websocket: bool
    hops: int | None
    loops: bool
    is_repeatable: bool
    inspected: object = None
    _lines: bytes = b""
    _head: tuple[str, bytes] | None = None
    _http2: tuple[str, HeadFields] | None = None

    def head(self, host: str) -> bytes:
        """The head sent to the destination. `host` is the one that was judged."""
        if self._head is None or self._head[0] != host:
            if not self._lines:
                self._lines = field_lines(self._sent(self.passing))
            self._head = host, request_opening(self.request.method, self.target.resource, host) + self._lines
        return self._head[1]

    def changed_head(self, host: str, passing: list[tuple[str, str]]) -> bytes:
        """The same with these fields. They may hold secrets, so it is not kept."""
        lines = field_lines(self._sent(passing))
        return request_opening(self.request.method, self.target.resource, host) + lines

    def aimed_at(self, request: Request, target: Target) -> "RequestPlan":
        """The plan of a request with the same method, version and fields."""
        return RequestPlan(
            request,
            self.via,
            target,
            self.host,
            self.passing,
            self.is_persistent,
            self.websocket,
            self.hops,
            self.loops,
            self.is_repeatable,
            _lines=self._lines,
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
    if last is not None and _differ_in_target(last.request, request):
        return last.aimed_at(request, target)
    fields = sort_request(request)
    passing, hosts = fields.passing, fields.held.get("host")
    return RequestPlan(
        request=request,
        via=via,
        target=target,
        host=hosts[0] if hosts else None,
        passing=passing,
        is_persistent=fields.is_persistent(request.minor),
        websocket=wants_websocket(request, fields),
        hops=hops_left(request, passing),
        loops=has_come_by(fields, via),
        is_repeatable=request.method in _REPEATABLE and request.framing.is_empty,
    )


def kept(plan: RequestPlan) -> RequestPlan | None:
    """What a connection keeps until its next request, which it may await for an hour: nothing of a large one."""
    request = plan.request
    return None if len(request.target) > _LONGEST_KEPT or are_large(request.fields) else plan


def _differ_in_target(one: Request, other: Request) -> bool:
    """Whether they differ in nothing else."""
    return one.fields == other.fields and one._replace(target=other.target) == other
