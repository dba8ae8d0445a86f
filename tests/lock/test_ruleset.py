"""What stands in the table; that nft takes it and that it does what it says is shown in tests/lab."""

import pytest

from gateway.lock.capture import Capture, Place
from gateway.lock.ruleset import build_ruleset
from gateway.model.addresses import Network, parse_network

DNS = ("10.96.0.10", "fd00:96::/64")


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(network for text in texts if (network := parse_network(text)) is not None)


ROUTER = Capture(Place.REDIRECT, 15001, ("eth1", "eth2"), passed=networks(*DNS))
TPROXY = Capture(Place.TPROXY, 15001, ("eth1",), mark=0x200)
POD = Capture(Place.POD, 15001, uid=1337, passed=networks(*DNS))
ALL = pytest.mark.parametrize("capture", [ROUTER, TPROXY, POD], ids=lambda capture: capture.place)


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain, without its hook."""
    body = text.partition(f"\tchain {name} {{\n")[2].partition("\t}")[0]
    return [line.strip() for line in body.splitlines()[1:]]


@ALL
def test_our_table_alone_is_replaced_in_one_transaction(capture: Capture) -> None:
    text = build_ruleset(capture)
    tops = [line for line in text.splitlines() if line and not line.startswith(("\t", "}"))]
    assert tops == ["table inet egress_gateway", "delete table inet egress_gateway", "table inet egress_gateway {"]
    assert "flush" not in text


@ALL
def test_the_last_word_of_every_lock_is_drop(capture: Capture) -> None:
    assert chain(build_ruleset(capture), "lock")[-1].endswith("counter name locked drop")


@ALL
def test_quic_is_rejected_and_not_left_to_the_drop(capture: Capture) -> None:
    text = build_ruleset(capture)
    assert text.count("udp dport 443 counter name quic reject with icmpx port-unreachable") == 1
    if capture is POD:
        rules = chain(text, "lock")
        assert next(i for i, rule in enumerate(rules) if "reject" in rule) == len(rules) - 2


@ALL
def test_what_is_passed_is_neither_captured_nor_locked(capture: Capture) -> None:
    text = build_ruleset(capture)
    if capture.passed:
        assert "elements = { 10.96.0.10/32 }" in text
        assert "elements = { fd00:96::/64 }" in text
    assert "ip daddr @passed4 return" in chain(text, "capture")
    assert any(rule.endswith("ip6 daddr @passed6 accept") for rule in chain(text, "lock"))


@ALL
def test_this_machine_itself_is_not_captured(capture: Capture) -> None:
    rules = chain(build_ruleset(capture), "capture")
    assert rules.index("fib daddr type local return") < len(rules) - 1


def test_only_the_named_interfaces_are_captured() -> None:
    text = build_ruleset(ROUTER)
    assert 'set inside { type ifname; elements = { "eth1", "eth2" } }' in text
    assert chain(text, "capture")[0] == "iifname != @inside return"
    assert chain(text, "quic")[0] == "iifname != @inside return"


def test_tproxy_marks_one_bit_and_keeps_the_others() -> None:
    rules = chain(build_ruleset(TPROXY), "capture")
    assert rules[-1].endswith("tproxy to :15001 meta mark set meta mark or 0x200 accept")
    assert "mark" not in build_ruleset(ROUTER)


def test_in_a_pod_the_connections_of_the_gateway_are_marked_and_not_its_packets() -> None:
    assert "ct mark and 0x1000 == 0x1000 accept" in chain(build_ruleset(POD), "lock")
    assert "meta mark" not in build_ruleset(POD)


def test_strangers_do_not_reach_the_listener_by_a_clients_address() -> None:
    """A wildcard listener that takes foreign addresses would otherwise answer for every one of them."""
    assert "socket wildcard 0" in chain(build_ruleset(TPROXY), "capture")[0]


def test_the_gateway_in_a_pod_is_exempt_from_both() -> None:
    text = build_ruleset(POD)
    assert chain(text, "capture")[0] == "meta skuid 1337 return"
    assert chain(text, "lock")[0] == "meta skuid 1337 ct mark set ct mark or 0x1000 accept"
