"""When a client that sent no credentials is asked for some."""

from collections.abc import Set

import pytest

from gateway.model.client import Client, IdentitySource
from gateway.policy.challenge import BY_CREDENTIALS, would_credentials_help
from gateway.policy.index import Rules
from gateway.policy.rules import Match, Mode
from tests.policy.builders import NOW, build, client, connect, deny, group, network, rule

CI = group("ci", user="ci")
CI_TRYING = group("ci", user="ci", mode=Mode.REPORT)
NET = group("net", cidr="10.0.0.0/8")


def helps(
    rules: Rules,
    target: str = "x.test:443",
    who: Client | None = None,
    asked: Set[IdentitySource] = BY_CREDENTIALS,
) -> bool:
    return would_credentials_help(who or client(), connect(target), rules, NOW, asked)


def test_credentials_help_where_a_group_that_they_prove_is_allowed() -> None:
    assert helps(build(CI, rule("a", "x.test", clients="ci")))
    assert helps(build(CI, rule("a", "*.test", clients="ci")), "x.a.test:443")
    assert helps(build(CI, rule("a", cidrs="93.184.216.0/24", clients="ci")), "93.184.216.34:443")


def test_credentials_help_nothing_where_nobody_is_allowed() -> None:
    rules = build(CI, rule("a", "x.test", clients="ci", ports=(443,)))
    assert not helps(rules, "y.test:443")
    assert not helps(rules, "x.test:8443")
    assert not helps(build(CI, rule("a", "x.test", clients="ci", expires=NOW)))


def test_credentials_are_not_needed_where_the_address_is_allowed() -> None:
    assert not helps(build(CI, rule("a", "x.test", clients="ci"), rule("b", "*.test x.test")))
    assert not helps(build(CI, NET, rule("a", "x.test", clients="ci net")), who=client("10.1.1.1"))


def test_a_group_of_addresses_cannot_be_proved() -> None:
    assert not helps(build(NET, rule("a", "x.test", clients="net")))


@pytest.mark.parametrize(("match", "proof"), [(Match(user="ci"), "basic"), (Match(namespace="pay"), "token")])
@pytest.mark.parametrize("mode", [None, Mode.REPORT])
def test_a_group_is_proved_only_by_what_is_in_use(match: Match, proof: str, mode: Mode | None) -> None:
    rules = build(group("proved", match, mode=mode), rule("a", "x.test", clients="proved"))
    for asked in IdentitySource.BASIC, IdentitySource.TOKEN:
        assert helps(rules, asked={asked}) == (asked == proof)


def test_a_group_of_users_in_a_network_can_be_proved_only_from_there() -> None:
    rules = build(group("near", Match(cidr=network("10.0.0.0/8"), user="ci")), rule("a", "x.test", clients="near"))
    assert helps(rules, who=client("10.1.1.1"))
    assert not helps(rules, who=client("192.0.2.1"))


def test_a_deny_that_would_hold_all_the_same_makes_credentials_useless() -> None:
    assert not helps(build(CI, rule("a", "x.test", clients="ci"), deny("no", "*.test x.test")))
    assert not helps(build(CI, rule("a", "x.test", clients="ci"), deny("no", "x.test", clients="ci")))


def test_credentials_help_out_of_a_deny_that_excepts_their_group() -> None:
    assert helps(build(CI, rule("a", "x.test"), deny("no", "x.test", except_clients="ci")))


def test_credentials_help_where_they_prove_a_group_in_report_mode() -> None:
    trying = group("trying", user="new", mode=Mode.REPORT)
    assert helps(build(trying))
    assert helps(build(trying, deny("no", "x.test")))
    assert helps(build(trying, CI_TRYING, deny("no", "x.test", clients="ci", mode=Mode.ENFORCE)))
    assert not helps(build(trying, deny("no", "x.test", mode=Mode.ENFORCE)))
    assert not helps(build(trying, group("net", cidr="10.0.0.0/8", mode=Mode.ENFORCE)), who=client("10.1.1.1"))
    assert not helps(build(group("net", cidr="10.0.0.0/8", mode=Mode.REPORT)))


def test_who_sent_credentials_already_is_not_asked_again() -> None:
    assert not helps(build(CI, rule("a", "x.test", clients="ci")), who=client(user="other"))
    assert not helps(build(CI, rule("a", "x.test", clients="ci")), who=client(spiffe="spiffe://c/x"))


def test_a_workload_known_by_its_address_sent_none() -> None:
    assert helps(build(CI, rule("a", "x.test", clients="ci")), who=client(namespace="pay"))
    assert helps(build(CI, rule("a", "x.test", clients="ci")), who=client(known=False))


def test_a_deny_for_the_pod_at_the_address_holds_for_every_password_that_comes_from_there() -> None:
    shop = group("shop", Match(namespace="shop"))
    rules = build(CI, shop, rule("a", "x.test", clients="ci"), deny("no", "x.test", clients="shop"))
    assert not helps(rules, who=client(namespace="shop"))
    assert helps(rules, who=client(namespace="pay"))
    assert not helps(rules, who=client(known=False, doubt="host_network"))
    assert helps(rules, who=client())
    excepted = build(CI, shop, rule("a", "x.test", clients="ci", except_clients="shop"))
    assert not helps(excepted, who=client(namespace="shop"))
    assert not helps(excepted, who=client(known=False, doubt="host_network"))


def test_a_token_settles_who_the_pod_is() -> None:
    """Where several pods share an address, or where it is translated: what the token says stands alone."""
    shop, pay = group("shop", Match(namespace="shop")), group("pay", Match(namespace="pay"))
    rules = build(CI, shop, pay, rule("a", "x.test", clients="pay"), deny("no", "x.test", clients="shop"))
    assert helps(rules, who=client(known=False, doubt="host_network"))
    assert helps(rules, who=client(namespace="shop"))


def test_a_pod_is_asked_for_a_token_of_a_group_in_report_mode_though_a_password_would_not_help() -> None:
    shop = group("shop", Match(namespace="shop"), mode=Mode.ENFORCE)
    asked = [group(f"g{number}", Match(namespace=f"n{number}"), mode=Mode.REPORT) for number in range(3)]
    assert not helps(build(CI_TRYING, shop), who=client(namespace="shop"))
    assert helps(build(CI_TRYING, shop, *asked), who=client(namespace="shop"))


def test_in_report_mode_nothing_is_denied_and_nobody_is_asked() -> None:
    assert not helps(build(CI, rule("a", "x.test", clients="ci"), mode=Mode.REPORT))
