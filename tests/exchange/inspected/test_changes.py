"""What a pod says under a header's name is gone, however it spells it, before ours is added."""

import pytest

from gateway.exchange.fields import _FROM_CLIENT
from gateway.exchange.inspected.changes import Changes
from gateway.settings.compile.inspection import OURS_TO_SAY


@pytest.mark.parametrize("spelling", ["X-Api-Key", "x-api-key", "X_API_KEY", "x_Api-key"])
def test_no_spelling_of_a_header_that_is_set_gets_through(spelling: str) -> None:
    changes = Changes(frozenset({"x-api-key"}), (("X-Api-Key", "ours"),))
    fields = [("A", "1"), (spelling, "theirs"), ("B", "2"), (spelling, "again")]
    assert changes.apply(fields) == [("A", "1"), ("B", "2"), ("X-Api-Key", "ours")]


def test_what_would_hide_an_echo_is_not_asked_for() -> None:
    changes = Changes(added=(("Accept-Encoding", "br"), ("A", "1"))).showing_echoes()
    fields = [("accept_encoding", "gzip"), ("Range", "bytes=0-4"), ("If-Range", "x"), ("B", "2")]
    assert changes.apply(fields) == [("B", "2"), ("A", "1"), ("Accept-Encoding", "identity")]


def test_no_rule_can_set_what_ends_at_the_gateway() -> None:
    assert _FROM_CLIENT <= OURS_TO_SAY
