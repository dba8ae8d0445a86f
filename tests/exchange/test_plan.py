"""What follows from a request: worked out once for the same request, and for the same fields."""

import pytest

from gateway.exchange.plan import plan_request
from gateway.model.errors import DownstreamError
from gateway.wire.http.messages import NO_CONTENT, Request

REQUEST = Request("GET", "http://a.test/x?y", 1, (("Host", "a.test"), ("X", "1"), ("Connection", "close")), NO_CONTENT)
NEXT = REQUEST._replace(target="http://b.test/z")


def test_the_plan_of_a_request_that_differs_in_its_target_is_the_one_that_it_has_alone() -> None:
    first = plan_request(REQUEST, "gw")
    assert first.head("a.test", "gw") == b"GET /x?y HTTP/1.1\r\nHost: a.test\r\nX: 1\r\nVia: 1.1 gw\r\n\r\n"
    first.inspected = object()
    second = plan_request(NEXT, "gw", first)
    assert second.passing is first.passing
    alone = plan_request(NEXT, "gw")
    assert second.head("b.test", "gw") == alone.head("b.test", "gw")
    assert second == alone
    assert first.head("a.test", "gw").startswith(b"GET /x?y ")


@pytest.mark.parametrize(
    "changed",
    [
        NEXT._replace(method="OPTIONS"),
        NEXT._replace(minor=0),
        NEXT._replace(fields=(("Host", "a.test"), ("X", "2"))),
        NEXT._replace(fields=(*NEXT.fields, ("Via", "1.1 gw"))),
    ],
)
def test_what_differs_in_more_is_worked_out_anew(changed: Request) -> None:
    assert plan_request(changed, "gw", plan_request(REQUEST, "gw")) == plan_request(changed, "gw")


def test_another_target_is_judged_although_the_fields_are_known() -> None:
    first = plan_request(REQUEST, "gw")
    with pytest.raises(DownstreamError):
        plan_request(REQUEST._replace(target="http://user@a.test/"), "gw", first)
