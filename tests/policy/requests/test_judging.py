"""Which requests `inspect.requests` lets through, and what is said of the others."""

import pytest

from gateway.model.inspection.terms import Allowed, Asked, NotAllowed
from gateway.model.reasons import Reason
from gateway.policy.requests.judging import RequestRule, RequestRules
from gateway.policy.requests.paths import parse_path_pattern


def entry(methods: str = "", paths: str = "", types: str = "", max_body: int | None = None) -> RequestRule:
    patterns = tuple(parse_path_pattern(path) for path in paths.split())
    return RequestRule(frozenset(methods.split()), patterns, frozenset(types.split()), max_body)


CHARGES = RequestRules(
    (
        entry("GET", "/v1/charges /v1/charges/**"),
        entry("POST", "/v1/charges", "application/json text/*", 100),
        entry("POST", "/v1/charges", "application/octet-stream"),
        entry("PUT"),
    )
)


def content(method: str, path: str, *media_types: str, length: int | None = 5) -> Asked:
    return Asked(method, path, True, media_types, length)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (Asked("GET", "/v1/charges"), Allowed()),
        (Asked("GET", "/v1/%63harges/1"), Allowed()),
        (Asked("POST", "/v1/charges"), Allowed(100)),
        (content("POST", "/v1/charges", "Application/JSON; charset=utf-8"), Allowed(100)),
        (content("POST", "/v1/charges", "text/x-any", length=None), Allowed(100)),
        (content("POST", "/v1/charges", "application/json", length=100), Allowed(100)),
        (content("POST", "/v1/charges", "application/octet-stream", length=1000), Allowed()),
        (Asked("PUT", "//what/ever%2f"), Allowed()),
        (Asked("PUT", "*"), Allowed()),
    ],
)
def test_the_first_entry_that_fits_lets_it_pass(asked: Asked, allowed: Allowed) -> None:
    assert CHARGES.judge(asked) == allowed


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked("HEAD", "/v1/charges"), Reason.REQUEST_DENIED),
        (Asked("get", "/v1/charges"), Reason.REQUEST_DENIED),
        (Asked("DELETE", "/v1/charges/1"), Reason.REQUEST_DENIED),
        (Asked("GET", "/v1/refunds"), Reason.REQUEST_DENIED),
        (Asked("GET", "/v1/charges/../refunds"), Reason.REQUEST_DENIED),
        (Asked("GET", "/v1/charges//1"), Reason.REQUEST_DENIED),
        (Asked("GET", "*"), Reason.REQUEST_DENIED),
        (content("POST", "/v1/charges"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "application/xml"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "application/json", "application/json"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "text/plain, application/xml"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "text/plain; a=b, application/xml"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "application/json; a=b,application/xml"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "application/json, text/plain"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "textual/plain"), Reason.MEDIA_TYPE_DENIED),
        (content("POST", "/v1/charges", "application/json", length=101), Reason.BODY_TOO_LARGE),
    ],
)
def test_what_fits_none_is_denied_and_told_why(asked: Asked, reason: Reason) -> None:
    verdict = CHARGES.judge(asked)
    assert isinstance(verdict, NotAllowed)
    assert verdict.reason is reason


def test_an_ambiguous_path_is_named_as_such() -> None:
    assert CHARGES.judge(Asked("GET", "/v1/charges/%2f")) == NotAllowed(
        Reason.REQUEST_DENIED, "ambiguous path: an escaped separator or control character"
    )


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        (Asked("GET", "/v1/charges", overrides_method=True), "a header that some read as the method"),
        (Asked("GET", "/v1/charges", overrides_path=True), "a header that some read as the path"),
    ],
)
def test_a_header_that_says_it_again_fits_no_entry_that_speaks_of_it(asked: Asked, detail: str) -> None:
    assert CHARGES.judge(asked) == NotAllowed(Reason.REQUEST_DENIED, detail)
    assert RequestRules((entry(types="a/b"),)).judge(asked) == Allowed()


def test_no_trace_passes_where_a_secret_is_added() -> None:
    asked = Asked("TRACE", "/")
    assert RequestRules((entry(),)).judge(asked) == Allowed()
    silent = RequestRules((entry(),), allows_trace=False)
    refusal = silent.judge(asked)
    assert isinstance(refusal, NotAllowed)
    assert refusal.reason is Reason.REQUEST_DENIED
    assert silent.judge(Asked("GET", "/")) == Allowed()


def test_an_entry_that_does_not_fit_keeps_none_behind_it_from_fitting() -> None:
    rules = RequestRules((entry("GET", "/a"), entry("POST", "/b"), entry("GET", "/b", max_body=7)))
    assert rules.judge(Asked("GET", "/b")) == Allowed(7)
    assert isinstance(rules.judge(Asked("GET", "/c")), NotAllowed)


def test_rules_of_equal_entries_are_equal() -> None:
    one, other = RequestRules((entry("GET", "/a"),)), RequestRules((entry("GET", "/a"),))
    assert one == other
    assert hash(one) == hash(other)
    assert one != RequestRules((entry("GET", "/b"),))
