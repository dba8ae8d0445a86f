"""What follows from a request: worked out once for the same request, and for the same fields."""

from dataclasses import replace

import pytest

from gateway.exchange.plan import kept, plan_request
from gateway.model.errors import DownstreamError
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Request

REQUEST = Request("GET", "http://a.test/x?y", 1, (("Host", "a.test"), ("X", "1"), ("Connection", "close")), NO_CONTENT)
NEXT = REQUEST._replace(target="http://b.test/z")


def test_the_plan_of_a_request_that_differs_in_its_target_is_the_one_that_it_has_alone() -> None:
    first = plan_request(REQUEST, "gw")
    assert first.head("a.test") == b"GET /x?y HTTP/1.1\r\nHost: a.test\r\nX: 1\r\nVia: 1.1 gw\r\n\r\n"
    first.inspected = object()
    second = plan_request(NEXT, "gw", first)
    alone = plan_request(NEXT, "gw")
    assert second.head("b.test") == alone.head("b.test")
    assert second == alone
    assert first.head("a.test").startswith(b"GET /x?y ")


FIELDS = (("Host", "a.test"), ("X", "1"), ("Via", "1.1 a"), ("traceparent", "1"), ("Y", "1"), ("Connection", "Y, Via"))


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("X", b"GET /z HTTP/1.1\r\nHost: b.test\r\nX: other\r\nVia: 1.1 a\r\nVia: 1.1 gw\r\n\r\n"),
        ("traceparent", b"GET /z HTTP/1.1\r\nHost: b.test\r\nX: 1\r\nVia: 1.1 a\r\nVia: 1.1 gw\r\n\r\n"),
        ("Y", b"GET /z HTTP/1.1\r\nHost: b.test\r\nX: 1\r\nVia: 1.1 a\r\nVia: 1.1 gw\r\n\r\n"),
    ],
)
def test_the_plan_of_a_request_with_another_value_is_the_one_that_it_has_alone(
    name: str, head: bytes, is_written: bool
) -> None:
    first = plan_request(REQUEST._replace(fields=FIELDS), "gw")
    if is_written:
        first.head("a.test")
    before = replace(first, passing=[*first.passing])
    request = NEXT._replace(fields=tuple([(each, "other" if each == name else value) for each, value in FIELDS]))
    second, alone = plan_request(request, "gw", first), plan_request(request, "gw")
    assert second.places is first.places
    assert second.head("b.test") == alone.head("b.test") == head
    assert second == alone
    assert first == before


def test_values_that_grow_from_request_to_request_are_not_kept_for_ever() -> None:
    plan = plan_request(REQUEST, "gw")
    assert kept(plan) is plan
    for size in (10_000, 20_000):
        plan = plan_request(
            REQUEST._replace(fields=(*REQUEST.fields[:1], ("X", "x" * size), *REQUEST.fields[2:])), "gw", plan
        )
        assert (kept(plan) is plan) == (size == 10_000)
    assert kept(plan_request(REQUEST._replace(target="http://a.test/" + "x" * 4096), "gw")) is None


@pytest.mark.parametrize(
    "changed",
    [
        NEXT._replace(method="OPTIONS"),
        NEXT._replace(minor=0),
        NEXT._replace(fields=(("Host", "a.test"), ("X", "2"))),
        NEXT._replace(fields=(*NEXT.fields, ("Via", "1.1 gw"))),
        NEXT._replace(fields=(("Host", "b.test"), *NEXT.fields[1:])),
        NEXT._replace(fields=(NEXT.fields[0], ("TE", "1"), NEXT.fields[2])),
        NEXT._replace(fields=(*NEXT.fields[:2], ("Connection", "X"))),
    ],
)
def test_what_differs_in_more_is_worked_out_anew(changed: Request) -> None:
    assert plan_request(changed, "gw", plan_request(REQUEST, "gw")) == plan_request(changed, "gw")


UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Max-Forwards", "3"))


@pytest.mark.parametrize(
    ("changed", "follows"),
    [
        (NEXT._replace(fields=UPGRADE, method="TRACE"), (3, True, True)),
        (NEXT._replace(fields=UPGRADE, minor=0), (None, False, False)),
        (NEXT._replace(fields=UPGRADE, framing=CHUNKED), (None, True, False)),
        (NEXT._replace(fields=UPGRADE), (None, True, True)),
    ],
    ids=["another method", "another version", "content", "another target alone"],
)
def test_what_follows_from_method_version_and_content_is_not_taken_from_a_request_with_the_same_fields(
    changed: Request, follows: tuple[int | None, bool, bool]
) -> None:
    plan = plan_request(changed, "gw", plan_request(REQUEST._replace(fields=UPGRADE), "gw"))
    assert (plan.hops, plan.is_persistent, plan.websocket) == follows


def test_a_count_of_hops_goes_down_by_one_in_every_version_of_the_head() -> None:
    plan = plan_request(REQUEST._replace(method="TRACE", fields=(("Max-Forwards", "3"), ("X", "1"))), "gw")
    assert b"\r\nMax-Forwards: 2\r\n" in plan.head("a.test")
    assert b"\r\nMax-Forwards: 2\r\n" in plan.changed_head("a.test", plan.passing)
    assert ("max-forwards", "2") in plan.http2_head("a.test", None)


def test_a_head_names_the_host_that_was_judged_though_another_was_before() -> None:
    plan = plan_request(REQUEST, "gw")
    for host in ("a.test", "b.test", "a.test"):
        assert f"\r\nHost: {host}\r\n".encode() in plan.head(host)
        told = plan.http2_head(host, None)
        assert told == [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", host),
            (":path", "/x?y"),
            ("x", "1"),
            ("via", "1.1 gw"),
        ]
        assert plan.http2_head(host, None) is told


def test_fields_that_may_hold_a_secret_are_written_and_not_kept() -> None:
    plan, secret = plan_request(REQUEST, "gw"), [("Authorization", "secret")]
    assert plan.changed_head("a.test", secret) == (
        b"GET /x?y HTTP/1.1\r\nHost: a.test\r\nAuthorization: secret\r\nVia: 1.1 gw\r\n\r\n"
    )
    assert ("authorization", "secret") in plan.http2_head("a.test", secret)
    assert b"secret" not in plan.head("a.test")
    assert ("authorization", "secret") not in plan.http2_head("a.test", None)
    assert "secret" not in repr(plan)


def test_under_another_pseudonym_the_plan_is_made_anew() -> None:
    last = plan_request(REQUEST, "gw")
    assert last.head("a.test")
    for request in (REQUEST, NEXT):
        plan = plan_request(request, "other", last)
        assert plan == plan_request(request, "other")
        assert b"\r\nVia: 1.1 other\r\n" in plan.head("a.test")
    passed = REQUEST._replace(fields=(*REQUEST.fields, ("Via", "1.1 other")))
    assert plan_request(passed, "other", plan_request(passed, "gw")).loops


def test_another_target_is_judged_although_the_fields_are_known() -> None:
    first = plan_request(REQUEST, "gw")
    with pytest.raises(DownstreamError):
        plan_request(REQUEST._replace(target="http://user@a.test/"), "gw", first)
