"""All files at one go."""

import os
import threading
import time
from pathlib import Path

import pytest

from gateway.app.configuration import Sources, load_configuration
from gateway.settings.problems import ConfigErrors
from tests.app.policies import text, write
from tests.helpers.certificates import DAY, Authority


def test_files_that_change_while_others_are_read_are_read_again(tmp_path: Path) -> None:
    policy, hosts = tmp_path / "policy", tmp_path / "hosts"
    policy.mkdir()
    os.mkfifo(hosts)
    write(policy / "a.yaml", text("former"))
    write(policy / "b.yaml", f"rules: [{{name: listed, hosts_file: {hosts}}}]\n")

    def change_both() -> None:
        with hosts.open("wb") as listing:  # waits until a.yaml was read
            write(policy / "a.yaml", text("newer"))
            write(tmp_path / "new", "newer.listed.test\n").rename(hosts)
            listing.write(b"former.listed.test\n")

    changing = threading.Thread(target=change_both, daemon=True)
    changing.start()
    first, second = load_configuration(Sources(policy=policy), {}).policy.rules
    changing.join(10)
    assert [first.name, second.hosts[0].name] == ["newer", "newer.listed.test"]


def test_when_certificates_and_the_next_rules_end_is_read_with_them(tmp_path: Path) -> None:
    issuer = Authority("test")
    issuer.server("gateway.test").write(tmp_path, "own")
    certificate, key = issuer.leaf("gateway", valid=(-DAY, 3 * DAY)).write(tmp_path, "shown")
    rules = [
        f"{{name: r{year}, hosts: [r{year}.test], expires: {year}-12-31}}" for year in (2020, 2998, *range(2050, 2080))
    ]
    write(tmp_path / "policy.yaml", f"rules: [{', '.join(rules)}]\n")
    write(
        tmp_path / "gateway.yaml",
        "listeners: [{name: secure, bind: '[::]:0', tls: {cert: own.crt, key: own.key}}]\n"
        f"client_certificates: {{partner: {{cert: {certificate}, key: {key}, hosts: [a.test]}}}}\n",
    )
    expiries = load_configuration(Sources(tmp_path / "gateway.yaml"), {}).head.expiries
    assert sorted(expiries)[:3] == ["client certificate partner", "listener secure", "rule policy.yaml#r2050"]
    assert abs(expiries["client certificate partner"] - time.time() - 3 * 86400) < 3600
    assert expiries["rule policy.yaml#r2050"] == 2556144000.0  # 2051-01-01T00:00:00Z
    assert [what for what in expiries if what.startswith("rule ")] == [
        f"rule policy.yaml#r{year}" for year in range(2050, 2070)
    ]


def test_what_is_wrong_in_any_of_the_named_files_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "users", "alice:plain\n")
    resolver = "{servers: [192.0.2.1], transport: dot, tls: {ca: none.pem}}"
    file = write(tmp_path / "gateway.yaml", f"identity: {{basic: {{htpasswd: users}}}}\nresolver: {resolver}\n")
    policy = write(tmp_path / "policy.yaml", "rulez: []\n")
    with pytest.raises(ConfigErrors) as refused:
        load_configuration(Sources(file), {})
    places = [str(problem).split(": ")[0] for problem in refused.value.problems]
    assert places == [f"{tmp_path}/users:1", f"{file}:2", f"{policy}:1"]


@pytest.mark.parametrize("store", ["redis://u:s3cret@a/zero", "redis://u:s3cret@a:99999", "redis://a?s3cret=1"])
def test_a_store_of_limits_that_cannot_be_is_told_with_its_place_and_not_quoted(tmp_path: Path, store: str) -> None:
    write(tmp_path / "gateway.yaml", f"limits:\n  store: {store}\n")
    with pytest.raises(ConfigErrors) as refused:
        load_configuration(Sources(tmp_path / "gateway.yaml"), {})
    assert str(refused.value).startswith(f"{tmp_path}/gateway.yaml:2: limits.store: ")
    assert "s3cret" not in str(refused.value)
