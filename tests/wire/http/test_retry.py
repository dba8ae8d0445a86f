"""When to try again: what a destination says, in seconds from now."""

import time

import pytest

from gateway.wire.http.retry import LONGEST_PATIENCE, parse_retry_after

NOW = 784_111_747.0  # half a minute before the date of RFC 9110 section 5.6.7


@pytest.mark.parametrize(
    "value",
    ["30", " 30 ", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_seconds_and_all_three_forms_of_a_date_say_the_same_wherever_the_gateway_is(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XYZ5")
    time.tzset()
    try:
        assert parse_retry_after([value], NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_has_passed_is_now_and_nobody_waits_for_ever() -> None:
    assert parse_retry_after(["Sat, 05 Nov 1994 08:49:37 GMT"], NOW) == 0.0
    for long in ("9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"):
        assert parse_retry_after([long], NOW) == LONGEST_PATIENCE


@pytest.mark.parametrize("values", [[], ["1", "1"], [""], ["-1"], ["1.5"], ["soon"], ["\u0661"], ["Sun, 06 Nov 1994"]])
def test_what_is_no_time_says_nothing(values: list[str]) -> None:
    assert parse_retry_after(values, NOW) is None
