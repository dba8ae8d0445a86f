"""The files in config/ load as they are, and say what their comments promise."""

from pathlib import Path

import pytest

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import parse_authority
from gateway.model.client import Client
from gateway.model.decision import Deny, Permit
from gateway.model.intent import Door, Intent
from gateway.policy.decide import decide
from gateway.policy.index import Rules, build_rules
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_policy, load_settings, with_policy

CONFIG = Path(__file__).parents[2] / "config"
SOMEBODY = Address(4, 0xC0000201)


def rules_of(name: str) -> Rules:
    return build_rules(load_policy(with_policy(GatewaySettings(), CONFIG / name)).policy, 1)


def verdict(rules: Rules, target: str, address: str = "192.0.2.1", user: str | None = None) -> Permit | Deny:
    authority, client = parse_authority(target), parse_address(address)
    assert authority is not None
    assert client is not None
    return decide(Client(client, user=user), Intent(Door.CONNECT, authority), rules, now=0.0)


@pytest.mark.parametrize("name", ["quickstart.yaml", "strict.yaml"])
def test_settings_and_the_policy_that_they_name_load_without_a_warning(name: str) -> None:
    loaded = load_policy(load_settings(CONFIG / name, {}))
    assert loaded.policy.rules
    assert loaded.warnings == ()


@pytest.mark.parametrize("name", ["quickstart-policy.yaml", "team-allowlist.yaml", "report-mode.yaml"])
def test_policies_load_without_a_warning(name: str) -> None:
    loaded = load_policy(with_policy(GatewaySettings(), CONFIG / name))
    assert loaded.policy.rules
    assert loaded.warnings == ()


def test_every_example_is_covered_here() -> None:
    assert {file.name for file in CONFIG.glob("*.yaml")} == {
        "quickstart.yaml",
        "quickstart-policy.yaml",
        "strict.yaml",
        "team-allowlist.yaml",
        "report-mode.yaml",
    }


def test_quickstart_listens_on_this_machine_only() -> None:
    settings = load_settings(CONFIG / "quickstart.yaml", {})
    assert [str(listener.bind) for listener in settings.listeners] == ["127.0.0.1:3128"]
    assert str(settings.admin.bind) == "127.0.0.1:9128"
    assert settings.policy == CONFIG / "quickstart-policy.yaml"


def test_quickstart_allows_a_few_names_and_denies_the_rest() -> None:
    rules = rules_of("quickstart-policy.yaml")
    assert isinstance(verdict(rules, "example.com:443"), Permit)
    assert isinstance(verdict(rules, "api.github.com:443"), Permit)
    assert isinstance(verdict(rules, "wikipedia.org:443"), Permit)
    assert isinstance(verdict(rules, "gist.github.com:443"), Deny)
    assert isinstance(verdict(rules, "example.org:443"), Deny)
    assert isinstance(verdict(rules, "example.com:80"), Deny)


def test_teams_reach_their_own_destinations() -> None:
    rules = rules_of("team-allowlist.yaml")
    assert isinstance(verdict(rules, "api.stripe.com:443", "10.20.0.1"), Permit)
    assert isinstance(verdict(rules, "api.stripe.com:443", user="payments"), Permit)
    assert isinstance(verdict(rules, "api.stripe.com:443", "10.30.0.1"), Deny)
    assert isinstance(verdict(rules, "a.search.example:9250", "10.30.0.1"), Permit)
    assert isinstance(verdict(rules, "b.a.search.example:9250", "10.30.0.1"), Deny)


def test_report_mode_lets_pass_all_but_what_refuses_already() -> None:
    rules = rules_of("report-mode.yaml")
    passed = verdict(rules, "anything.example:443")
    assert isinstance(passed, Permit)
    assert passed.would_deny is not None
    assert isinstance(verdict(rules, "anything.example:443", "10.40.0.1"), Deny)
    assert isinstance(verdict(rules, "pastebin.com:443"), Deny)
