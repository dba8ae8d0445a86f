"""traceparent, W3C Trace Context level 1."""

import pytest

from gateway.model.client import TraceParent
from gateway.wire.head import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_lowest_flag_tells_whether_the_client_records_it(flags: str, sampled: bool) -> None:
    assert parse_traceparent([f"00-{TRACE}-{SPAN}-{flags}"]) == TraceParent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize("value", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_a_later_version_is_read_as_far_as_this_one_goes(value: str) -> None:
    assert parse_traceparent([value]) == TraceParent(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"01-{TRACE}-{SPAN}-01-{'x' * 1000}",
        f"00-{TRACE}-{SPAN}-01\n",
        "00-" + "\u0664" * 32 + f"-{SPAN}-01",
    ],
)
def test_what_is_not_right_to_the_letter_is_none(value: str) -> None:
    assert parse_traceparent([value]) is None


def test_none_and_two_are_none() -> None:
    value = f"00-{TRACE}-{SPAN}-01"
    assert parse_traceparent([]) is None
    assert parse_traceparent([value, value]) is None
