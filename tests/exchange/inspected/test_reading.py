"""What a rule makes of a request by itself: which fields go on, what it is judged by, what is recorded of it."""

import pytest

from gateway.exchange.fields import _FROM_CLIENT
from gateway.exchange.inspected.reading import Reading, read_request
from gateway.exchange.plan import RequestPlan, plan_request
from gateway.model.inspection.terms import Allowed, Asked, HeaderValue, Inspection, NotAllowed, SecretName
from gateway.settings.compile.inspection import RESERVED_HEADERS
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, Framing, Request


class Screen:
    """Fulfils `RequestScreen`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def judge(self, asked: Asked) -> Allowed | NotAllowed:
        self.asked.append(asked)
        return Allowed(7)


def plan(*fields: tuple[str, str], target: str = "/x?q=1", framing: Framing = NO_CONTENT) -> RequestPlan:
    return plan_request(Request("POST", target, 1, (("Host", "a.test"), *fields), framing), "gw")


def read(inspection: Inspection, *fields: tuple[str, str]) -> Reading:
    return read_request(plan(*fields), inspection)


@pytest.mark.parametrize("spelling", ["X-Api-Key", "x-api-key", "X_API_KEY", "x_Api-key", "X.Api.Key"])
def test_no_spelling_of_a_header_that_is_set_or_removed_goes_on(spelling: str) -> None:
    fields = [("A", "1"), (spelling, "theirs"), ("B", "2"), (spelling, "again")]
    for inspection in (
        Inspection(set=(HeaderValue("X-Api-Key", ("1",)),)),
        Inspection(remove=frozenset({"x-api-key"})),
    ):
        assert read(inspection, *fields).kept == [("A", "1"), ("B", "2")]


def test_no_rule_can_set_what_ends_at_the_gateway() -> None:
    assert _FROM_CLIENT <= RESERVED_HEADERS


def test_it_is_judged_by_what_goes_on() -> None:
    screen = Screen()
    inspection = Inspection(requests=screen, remove=frozenset({"x-original-url"}))
    override = ("X-HTTP-Method-Override", "DELETE")
    read_request(plan(("Content-Type", "a/b;c"), ("X-Original-URL", "/y"), framing=CHUNKED), inspection)
    read_request(plan(override, ("X_Rewrite_URL", "/y"), framing=Framing(NO_CONTENT.delimiter)), inspection)
    assert screen.asked == [
        Asked("POST", "/x", True, ("a/b;c",), None),
        Asked("POST", "/x", overrides_method=True, overrides_path=True),
    ]


@pytest.mark.parametrize("others", [(), (("Content-Type", "a/b"),)])
def test_a_spelling_that_some_origins_do_not_read_tells_no_type(others: tuple[tuple[str, str], ...]) -> None:
    screen = Screen()
    reading = read(Inspection(requests=screen), ("Content_Type", "a/b"), *others)
    assert screen.asked[0].media_types == ("", *[value for _, value in others])
    assert reading.media_type == "a/b"


def test_it_is_read_once_for_a_plan_and_an_inspection() -> None:
    one, other, planned = Inspection(requests=Screen()), Inspection(requests=Screen()), plan()
    first = read_request(planned, one)
    assert first.verdict == Allowed(7)
    assert read_request(planned, one) is first
    assert read_request(planned, other) is not first


def test_records_get_what_the_rule_asks_for() -> None:
    fields = [("Content-Type", "a/b ; c=d"), ("User_Agent", "x"), ("user-agent", "y"), ("Z", "z")]
    quiet, told = read(Inspection(), *fields), read(Inspection(log_headers=("user-agent",), log_query=True), *fields)
    assert (quiet.media_type, quiet.query, quiet.headers) == ("a/b", "", ())
    assert (told.query, told.headers) == ("q=1", (("user-agent", "x"), ("user-agent", "y")))


@pytest.mark.parametrize(
    ("inspection", "framing", "is_enough"),
    [
        (Inspection(requests=Screen(), log_query=True), NO_CONTENT, True),
        (Inspection(), CHUNKED, False),
        (Inspection(), Framing(Delimiter.LENGTH, 0), False),  # trailers may follow, which a rule drops by name
        (Inspection(remove=frozenset({"x-team"})), NO_CONTENT, False),
        (Inspection(set=(HeaderValue("X-Key", (SecretName("key"),)),)), NO_CONTENT, False),
        (Inspection(inspectors=("scan",)), NO_CONTENT, False),
    ],
)
def test_the_verdict_is_enough_where_nothing_is_changed_and_nothing_follows(
    inspection: Inspection, framing: Framing, is_enough: bool
) -> None:
    assert read_request(plan(framing=framing), inspection).is_enough is is_enough
