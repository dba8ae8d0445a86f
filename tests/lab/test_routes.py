"""What `routes` does to a kernel: once or many times the same, gone without a trace, and in a pod of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, https
from tests.helpers.requirements import require
from tests.lab.bed import routes
from tests.lab.network import ELSEWHERE, HOME, NAME_SERVER, POD1, Namespace, Network, network

pytestmark = pytest.mark.privileged

PLACES = {
    "redirect": ("-i", "in1", "--pass", NAME_SERVER),
    "tproxy": ("-i", "in1", "-i", "in2", "--mark", "0x20000"),
    "pod": ("--uid", "0", "--pass", "2001:db8::/32"),
}
NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="module")
def laid() -> Iterator[Network]:
    with network() as laid:
        yield laid


def _state(machine: Namespace) -> list[str]:
    """All of nftables and of policy routing, without what only counts."""
    tables = machine.run("nft", "--stateless", "list", "ruleset").stdout
    rules = [machine.run("ip", version, "rule", "show").stdout for version in ("-4", "-6")]
    ours = [machine.run("ip", version, "route", "show", "table", "all").stdout for version in ("-4", "-6")]
    return [tables, *rules, *(line for text in ours for line in text.splitlines() if "table 17017" in line)]


def test_a_machine_on_which_ipv6_is_off_is_captured_without_it(laid: Network) -> None:
    machine = laid.pod2  # of which the other tests want nothing
    machine.set_sysctl("ipv6/conf/all/disable_ipv6", 1)
    assert routes(machine, "apply", "tproxy", "--port", "15001", "-i", "eth0").returncode == 0
    applied = _state(machine)
    assert "17017:\tfrom all fwmark" in applied[1]
    assert "17017" not in applied[2]
    assert routes(machine, "remove").returncode == 0
    machine.run("sh", text=routes(machine, "print", "tproxy", "--port", "15001", "-i", "eth0").stdout)
    assert _state(machine) == applied


@pytest.mark.parametrize("place", PLACES)
def test_applying_is_idempotent_is_what_print_shows_and_is_taken_back(laid: Network, place: str) -> None:
    machine, options = laid.gateway, (place, "--port", "15001", *PLACES[place])
    before = _state(machine)
    shown = routes(machine, "print", *options)
    assert routes(machine, "apply", *options).returncode == 0
    applied = _state(machine)
    assert applied != before
    assert routes(machine, "apply", *options).returncode == 0
    assert _state(machine) == applied
    for _ in range(2):
        assert routes(machine, "remove").returncode == 0
        assert _state(machine) == before
    machine.run("sh", text=shown.stdout)
    assert _state(machine) == applied
    assert routes(machine, "remove").returncode == 0


def test_one_place_takes_over_from_another_and_leaves_nothing_of_it(laid: Network) -> None:
    machine = laid.gateway
    before = _state(machine)
    for place in ("tproxy", "redirect"):
        assert routes(machine, "apply", place, "--port", "15001", *PLACES[place]).returncode == 0
    after = _state(machine)
    assert after[1:] == before[1:]
    assert "redirect to :15001" in after[0]
    assert "tproxy" not in after[0]
    assert routes(machine, "remove").returncode == 0


@pytest.mark.parametrize("arguments", [("apply", "redirect", "--port", "1", "-i", "in1"), ("remove",)])
def test_a_missing_privilege_is_named(laid: Network, arguments: tuple[str, ...]) -> None:
    without = [require("capsh"), "--drop=cap_net_admin", "--", "-c", 'exec "$0" "$@"']
    before = _state(laid.gateway)
    command = [*laid.gateway.prefix, *without, sys.executable, "-m", "gateway", "routes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "CAP_NET_ADMIN" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert _state(laid.gateway) == before


def test_a_pod_captures_itself_and_exempts_the_gateway(laid: Network, tmp_path: Path) -> None:
    """The gateway beside the workload, as another user; rules as an init container would apply them."""
    pod, authority = laid.pod1, TestAuthority(tmp_path)
    context = authority.server_context("allowed.test", "denied.test")
    policy = {"rules": [{"name": "allowed", "hosts": ["allowed.test"]}]}
    settings = {
        "listeners": [{"name": "proxy", "bind": "[::]:15001", "mode": "transparent"}],
        "resolver": {"servers": [f"{NAME_SERVER}:53"]},
        "addresses": {"allow": ["203.0.113.0/24", "2001:db8::/32"]},
    }
    with ExitStack() as stack:
        with laid.world.entered():
            dns = stack.enter_context(DnsServer(NAME_SERVER, 53))
            homes = [stack.enter_context(Origin(https(context, b"home\n"), address, 443)) for address in HOME]
        dns.answer("allowed.test", *HOME)
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, settings, prefix=pod.prefix))
        done = routes(pod, "apply", "pod", "-c", str(gateway.settings_file), "--uid", "0")
        assert done.returncode == 0, done.stderr
        for address in (*HOME, *ELSEWHERE):
            done = _curl_as_nobody(pod, "allowed.test", address)
            assert (done.returncode, done.stdout) == (0, "home\n"), done.stderr
        seen = laid.world.counters("syn", "dns", "other")
        done = _curl_as_nobody(pod, "denied.test", HOME[0])
        assert "access denied" in done.stderr
        assert laid.world.counters("syn", "dns", "other") == seen
        records = gateway.wait_for_records(5)
        assert pod.counters("captured", "locked", table="egress_gateway") == [5, 0]
        assert len(homes[0].visits) + len(homes[1].visits) == 4
        assert routes(pod, "remove").returncode == 0
    assert {record["client_address"] for record in records} == set(POD1)
    assert [record["decision"] for record in records] == ["allow"] * 4 + ["deny"]


def _curl_as_nobody(pod: Namespace, host: str, address: str, *options: str) -> "subprocess.CompletedProcess[str]":
    pinned = f"{host}:443:{f'[{address}]' if ':' in address else address}"
    curl = [require("curl"), "-q", "-sS", "--insecure", "--max-time", "30", "--resolve", pinned, *options]
    command = [*pod.prefix, require("setpriv"), *NOBODY, *curl, f"https://{host}/"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={})
