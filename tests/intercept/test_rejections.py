"""How often it is said that clients reject our certificate."""

import logging

import pytest

from gateway.intercept import rejections
from gateway.intercept.rejections import QUIET_SECONDS, Rejections
from gateway.model.addresses import Address
from gateway.model.decision import RuleRef

CLIENT = Address(4, 0x0A000001)


def _rule(name: str) -> RuleRef:
    return RuleRef(f"policy.yaml#{name}", "policy.yaml", 3)


def test_each_rule_is_told_of_seldom_with_what_came_since(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    noted = Rejections(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            noted.note(_rule("a"), "pinned.test", CLIENT)
        noted.note(_rule("b"), "other.test", CLIENT)
        now[0] = QUIET_SECONDS
        noted.note(_rule("a"), "pinned.test", CLIENT)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "policy.yaml#a (policy.yaml:3): 10.0.0.1 rejected our certificate for pinned.test (1 since" in said[0]
    assert "write a rule for pinned.test with inspect: false" in said[0]
    assert "policy.yaml#b" in said[1]
    assert "(5 since last told)" in said[2]


def test_what_is_remembered_of_rules_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "RULES", 3)
    noted = Rejections(lambda: 0.0)
    for number in range(10):
        noted.note(_rule(str(number)), "pinned.test", CLIENT)
    assert len(noted._told_at) <= 3
    assert len(noted._since) <= 4
