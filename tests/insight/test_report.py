"""Sums by client, destination and day."""

import pytest

from gateway.insight import report
from gateway.insight.attempts import TooMuch
from gateway.insight.report import Sums, add_up
from tests.insight.records import seen

RECORDS = (
    seen("a.example", user="ci"),
    seen("a.example", user="ci", would_deny="no_rule", time="2027-01-16T00:00:00.000Z"),
    seen("b.example", decision="deny", bytes_up=0, bytes_down=0),
    seen("b.example", decision="none", bytes_up=1, bytes_down=0),
    seen("b.example", requests=2, bytes_up=10_000),
)


def test_rows_are_in_order_and_every_byte_is_in_one_of_them() -> None:
    assert add_up(RECORDS) == {
        ("2027-01-15", "10.0.0.1", "b.example:443"): Sums(denied=1, ended_before=1, bytes_up=1),
        ("2027-01-15", "ci", "a.example:443"): Sums(allowed=1, bytes_up=10, bytes_down=20),
        ("2027-01-16", "ci", "a.example:443"): Sums(allowed=1, would_deny=1, bytes_up=10, bytes_down=20),
    }
    assert add_up(RECORDS, ["client"])["ci",] == Sums(2, 0, 1, 0, 20, 40)


def test_an_auditor_learns_by_which_rule_and_why_not() -> None:
    records = (
        seen("a.example", namespace="payments", groups=["payments", "pods"], rule="platform.yaml#a"),
        seen("b.example", namespace="payments", rule="report-only", would_deny="no_rule"),
        seen("b.example", decision="deny", reason="no_rule", bytes_up=0, bytes_down=0),
    )
    assert list(add_up(records, ["month", "namespace", "groups", "destination", "rule", "reason"])) == [
        ("2027-01", "-", "-", "b.example:443", "-", "no_rule"),
        ("2027-01", "payments", "-", "b.example:443", "report-only", "no_rule"),
        ("2027-01", "payments", "payments,pods", "a.example:443", "platform.yaml#a", "-"),
    ]


def test_what_nobody_could_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_ATTEMPTS", 1)
    with pytest.raises(TooMuch, match="by fewer columns"):
        add_up(RECORDS)
