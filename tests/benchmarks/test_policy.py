"""The generated policy has the size that is promised, and is one that the gateway accepts."""

from pathlib import Path

import pytest

from benchmarks import layout
from benchmarks.policy import names, rules
from benchmarks.proxies.launch import Place
from benchmarks.proxies.ours import gateway
from gateway.settings.load import load_policy, load_settings


def test_there_are_a_thousand_rules_of_different_names_for_ten_groups() -> None:
    all_rules = rules()
    assert len(all_rules) == 1000
    assert len({rule["name"] for rule in all_rules}) == 1000
    assert len({group for rule in all_rules for group in rule.get("clients", [])}) == 10


def test_a_peer_gets_as_many_names_as_there_are_rules_and_the_target_is_one() -> None:
    assert len(set(names())) == 1000
    assert layout.TARGET in names()


def test_the_gateway_accepts_the_configuration_without_a_warning(tmp_path: Path) -> None:
    launch = gateway(Place(tmp_path, tmp_path))
    policy = load_policy(load_settings(launch.configuration, {}))
    assert policy.warnings == ()


@pytest.mark.parametrize("group", range(layout.GROUPS))
def test_every_client_of_the_load_generator_is_in_a_group(group: int) -> None:
    assert layout.hosts_file().count(f"\n{layout.group_network(group).removesuffix('0/24')}") == layout.HOSTS_PER_GROUP


@pytest.mark.parametrize("count", [10, 1000, 5000])
def test_there_are_as_many_rules_as_asked_for_and_the_measured_ones_among_them(count: int) -> None:
    some = rules(count)
    assert len({rule["name"] for rule in some}) == count
    assert {"measured-tls", "measured-tcp", "measured-http"} <= {rule["name"] for rule in some}
