"""Heads of responses as clients get them."""

from email.utils import formatdate

import pytest

from gateway.exchange.parts import Parts
from gateway.exchange.response import ResponsePlan, plan_response
from gateway.wire.http.messages import NO_CONTENT, Delimiter, Framing, Request, Response
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import build

GET = Request("GET", "/", 1, (("Host", "a.test"),), NO_CONTENT)
DATED = (("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Proxy-Status", "other; error=proxy_internal_error"))


class Hands:
    """A clock that a test moves."""

    now = 1_000_000_000.5

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _parts(clock: Hands) -> Parts:
    parts = build_services(build(), FakeDialer(), KeepingRecorder()).exchanges
    parts.clock = clock
    return parts


def _told(*fields: tuple[str, str]) -> ResponsePlan:
    return plan_response(GET, Response(200, "OK", 1, fields, Framing(Delimiter.LENGTH, 0)), "gw", None)


async def test_a_response_without_date_gets_the_one_at_which_it_came() -> None:
    planned, clock = _told(("X", "1")), Hands()
    parts = _parts(clock)
    for later in (0.0, 0.3, 1.0):
        clock.now = Hands.now + later
        date = formatdate(clock.now, usegmt=True)
        assert f"Date: {date}\r\n".encode() in planned.head(True, parts)
        assert ("date", date) in planned.fields_for_http2(parts)


async def test_a_date_stays_as_it_came() -> None:
    parts = _parts(Hands())
    planned = _told(("date", "Sun, 06 Nov 1994 08:49:37 GMT"))
    assert planned.head(True, parts).lower().count(b"date: ") == 1
    assert [name for name, _ in planned.fields_for_http2(parts)].count("date") == 1


async def test_under_another_name_the_response_is_planned_anew() -> None:
    parts, response = _parts(Hands()), Response(200, "OK", 1, DATED, Framing(Delimiter.LENGTH, 0))
    last = plan_response(GET, response, parts.name, None)
    assert plan_response(GET, response, parts.name, last) is last
    last.head(True, parts)
    parts.follow("other", parts.bounds)
    planned = plan_response(GET, response, parts.name, last)
    assert b"\r\nVia: 1.1 other\r\n" in planned.head(True, parts)
    assert b"Proxy-Status" not in planned.head(True, parts)


@pytest.mark.parametrize("request_", [GET._replace(minor=0), GET._replace(method="HEAD")], ids=["HTTP/1.0", "HEAD"])
def test_for_another_kind_of_client_an_equal_response_is_planned_anew(request_: Request) -> None:
    """Else one of HTTP/1.0 would get chunks over a connection that served one of HTTP/1.1."""
    response = Response(200, "OK", 1, DATED, Framing(Delimiter.CHUNKED))
    last = plan_response(GET, response, "gw", None)
    planned = plan_response(request_, response, "gw", last)
    assert planned == plan_response(request_, response, "gw", None)
    assert planned is not last


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, "7"), ("HEAD", 204, None), ("GET", 304, "7"), ("GET", 204, None)]
)
async def test_a_length_of_content_that_does_not_follow_is_told_but_never_in_a_204(
    method: str, status: int, length: str | None
) -> None:
    parts = _parts(Hands())
    response = Response(status, "", 1, (("content-length", "7"),), NO_CONTENT)
    planned = plan_response(GET._replace(method=method), response, "gw", None)
    assert planned.length == length
    assert (b"Content-Length: 7\r\n" in planned.head(True, parts)) is (length is not None)
    assert (("content-length", "7") in planned.fields_for_http2(parts)) is (length is not None)
