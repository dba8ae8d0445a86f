"""Units: what each leaf means, and that a number without its unit means nothing."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.rules import PortRange
from gateway.settings import units
from gateway.settings.problems import BadValue


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_duration, "500ms", 0.5),
        (units.parse_duration, "2s", 2.0),
        (units.parse_duration, "1.5m", 90.0),
        (units.parse_duration, "1h", 3600.0),
        (units.parse_duration, "7d", 604800.0),
        (units.parse_duration_or_zero, "0s", 0.0),
        (units.parse_size, "512B", 512),
        (units.parse_size, "64KiB", 65536),
        (units.parse_size, "1.5MiB", 1572864),
        (units.parse_size, "1TiB", 1 << 40),
        (units.parse_rate, "50/s", 50.0),
        (units.parse_rate, "30/m", 0.5),
        (units.parse_rate, "3600/h", 1.0),
        (units.parse_byte_rate, "10MiB/s", 10485760),
        (units.parse_budget, "50GiB/day", units.Budget(50 << 30, "day")),
        (units.parse_budget, "1GiB/hour", units.Budget(1 << 30, "hour")),
        (units.parse_port, 443, PortRange(443, 443)),
        (units.parse_port, "8000-8100", PortRange(8000, 8100)),
        (units.parse_burst, "1MiB", 1 << 20),
        (units.parse_burst, 7, 7),
        (units.parse_last_day, "2024-02-29", datetime(2024, 3, 1, tzinfo=UTC).timestamp()),
        (units.parse_last_day, "9999-12-30", datetime(9999, 12, 31, tzinfo=UTC).timestamp()),
    ],
)
def test_a_text_with_its_unit_is_a_number(parse: Callable[[object], object], text: object, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *(
            (units.parse_duration, wrong)
            for wrong in (5, 5.0, True, None, "5", "5 s", "s", "-1s", "1h30m", "1e3s", "٣s", "0s", "5S")
        ),
        *((units.parse_size, wrong) for wrong in (65536, "64KB", "64K", "64kib", "0B", "", "1KiB ")),
        *((units.parse_rate, wrong) for wrong in (50, "50", "50/", "/s", "50/ms", "0/s", "50/sec")),
        *((units.parse_byte_rate, wrong) for wrong in ("10MiB", "10MiB/m", "10/s")),
        *((units.parse_budget, wrong) for wrong in ("50GiB", "50GiB/d", "50GiB/week")),
        *((units.parse_port, wrong) for wrong in (0, 65536, -1, "1-", "-1", "1-2-3", "443 ", True, None, 443.0, [443])),
        *(
            (units.parse_last_day, wrong)
            for wrong in ("2027-1-31", "2027-13-01", "9999-12-31", 20270131, "2027-01-31T00:00")
        ),
        *((units.parse_count, wrong) for wrong in (0, -1, True, "5", 1.0, 1_000_000_001)),
    ],
)
def test_what_has_no_unit_or_another_one_is_refused_in_one_line(
    parse: Callable[[object], object], value: object
) -> None:
    with pytest.raises(BadValue) as refusal:
        parse(value)
    assert "\n" not in str(refusal.value)


@given(st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text(), max_size=2))
def test_no_value_makes_a_parser_fail_otherwise_than_by_refusing(value: object) -> None:
    assert unexpected_failures(value, PARSERS) == []


def test_the_property_catches_a_parser_that_fails_otherwise() -> None:
    def careless(value: object) -> int:
        return len(value)  # type: ignore[arg-type]  # the planted fault

    assert unexpected_failures(5, [*PARSERS, careless]) == ["careless"]


PARSERS: list[Callable[[object], object]] = [
    units.parse_duration,
    units.parse_optional_duration,
    units.parse_size,
    units.parse_rate,
    units.parse_byte_rate,
    units.parse_budget,
    units.parse_count,
    units.parse_share,
    units.parse_burst,
    units.parse_auto_count,
    units.parse_flag,
    units.parse_text,
    units.parse_label,
    units.parse_cidr,
    units.parse_endpoint,
    units.parse_name_server,
    units.parse_port,
    units.parse_last_day,
    units.parse_domain,
    units.parse_store,
]


def unexpected_failures(value: object, parsers: list[Callable[[object], object]]) -> list[str]:
    """The parsers that neither give a value nor refuse."""
    failed = []
    for parse in parsers:
        try:
            parse(value)
        except BadValue:
            pass
        except Exception:  # noqa: BLE001  # any other exception is what is looked for
            failed.append(parse.__name__)
    return failed
