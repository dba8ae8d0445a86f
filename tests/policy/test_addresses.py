"""The address guard, sentence by sentence, and against the standard library where that is right."""

import ipaddress
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.addresses import WIDTH, Address, Version
from gateway.model.decision import AddressRefusal, Terms
from gateway.model.reasons import Reason
from gateway.policy import addresses as guard
from gateway.policy.addresses import Kind, block_of, blocks
from gateway.policy.index import Rules
from gateway.policy.rules import Match, Mode, Rule
from tests.policy.builders import address, ask, build, client, deny, group, network, networks, permitted, rule

ANY_RULE = rule("any", "*", ports=None)


def screen(rules: Rules, resolved: str, target: str = "x.test:443", peer: str = "172.16.0.1") -> AddressRefusal | None:
    return permitted(ask(rules, target, client(peer))).screen(address(resolved))


def passes(rules: Rules, resolved: str, target: str = "x.test:443") -> bool:
    return screen(rules, resolved, target) is None


def literal(rules: Rules, text: str, port: int = 443) -> AddressRefusal | None:
    return screen(rules, text, f"{address(text).uri_host}:{port}")


def private(hosts: str, opened: str, cidrs: str = "") -> Rule:
    return rule("p", hosts, cidrs=cidrs, terms=Terms(private=networks(opened)))


# What is global unicast

GLOBAL = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
    169.255.0.0 172.15.255.255 172.32.0.0 192.0.0.9 192.0.0.10 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2600::
    2606:2800:220:1::1 2001:200::1 2001:1::1 2001:1::2 2001:1::3 2001:3::1 2001:4:112::1 2001:20::1 2001:30::1
    2001:db7:ffff::1 2001:db9:: 2003::1 3ffe:ffff::1 3fff:1000::1 2620:4f:8000::1
"""
OPENABLE = """
    0.0.0.1 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 172.16.0.0 172.31.255.255 192.0.0.0
    192.0.0.8 192.0.0.11 192.0.0.170 192.0.0.191 192.0.2.0 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0
    198.19.255.255 198.51.100.0 203.0.113.255 240.0.0.0 255.255.255.254 100::1 2001::1 2001:2::1 2001:10::1
    2001:1ff::1 2001:1::4 2001:db8::1 3fff::1 5f00::1 fc00::1 fdff::1 fd00:ec2::22 fec0::1 4000::1 1fff::1
    8000::1 64:ff9b:1::808:808 ::ffff:0:808:808
"""
LOCAL = """
    169.254.0.0 169.254.170.2 169.254.255.255 169.254.169.254 168.63.129.16 100.100.100.200 fe80::1 febf::1
    192.0.0.192 fd00:42::42 fd00:a9fe:a9fe::1 fd00:c1::a9fe:a9fe fd00:ec2::23 fd20:ce::254
    fd00:ec2::254
"""
LOOPBACK = "127.0.0.0 127.0.0.1 127.255.255.255 ::1"
NEVER = "0.0.0.0 224.0.0.0 239.255.255.255 255.255.255.255 :: ff00:: ff02::1 ffff::"
EVERYTHING = "0.0.0.0/0 ::/0"


@pytest.mark.parametrize("text", GLOBAL.split())
def test_global_unicast_passes(text: str) -> None:
    assert passes(build(ANY_RULE), text)


@pytest.mark.parametrize("text", OPENABLE.split())
def test_what_is_not_global_is_refused_and_opened_by_an_exception(text: str) -> None:
    refusal = screen(build(ANY_RULE), text)
    assert refusal is not None
    assert (refusal.address, refusal.reason, refusal.rule, refusal.enforced) == (
        address(text),
        Reason.ADDRESS_REFUSED,
        None,
        True,
    )
    if not list(guard.embedded_in(address(text))):
        assert passes(build(ANY_RULE, allow=f"{text}"), text)
        assert passes(build(private("*.test", text)), text, "x.test:443")


@pytest.mark.parametrize("text", [*LOCAL.split(), *LOOPBACK.split()])
def test_loopback_link_local_and_metadata_are_refused(text: str) -> None:
    assert not passes(build(ANY_RULE), text)


@pytest.mark.parametrize("text", LOCAL.split())
def test_no_general_exception_opens_link_local_or_metadata(text: str) -> None:
    assert not passes(build(ANY_RULE, allow=f"{text} {EVERYTHING}"), text)


@pytest.mark.parametrize("text", LOOPBACK.split())
def test_a_general_exception_opens_loopback(text: str) -> None:
    assert passes(build(ANY_RULE, allow="127.0.0.0/8 ::1"), text)


@pytest.mark.parametrize("text", [*LOCAL.split(), *LOOPBACK.split()])
def test_a_rules_private_opens_them_only_if_all_its_hosts_are_exact(text: str) -> None:
    assert passes(build(private("x.test y.test", text)), text)
    assert not passes(build(private("x.test *.x.test", text)), text)
    assert not passes(build(private("*.test", text)), text)


@pytest.mark.parametrize("text", [*LOCAL.split(), *LOOPBACK.split()])
def test_for_a_literal_only_the_rules_own_entry_for_exactly_that_address_opens_them(text: str) -> None:
    assert literal(build(rule("a", cidrs=text)), text) is None
    assert literal(build(rule("a", cidrs=f"{EVERYTHING} {text}")), text) is None
    assert literal(build(rule("a", cidrs=EVERYTHING)), text) is not None
    assert literal(build(private("", text, cidrs=EVERYTHING)), text) is not None
    assert literal(build(private("x.test", text, cidrs=EVERYTHING)), text) is not None


@pytest.mark.parametrize("text", NEVER.split())
def test_nothing_opens_what_can_never_be_a_destination(text: str) -> None:
    assert not passes(build(private("x.test", EVERYTHING), allow=EVERYTHING), text)
    assert literal(build(rule("a", cidrs=f"{EVERYTHING} {text}"), allow=EVERYTHING), text) is not None


def test_for_a_literal_the_rules_own_cidrs_open_what_is_not_global() -> None:
    assert literal(build(rule("a", cidrs="10.0.0.0/8")), "10.1.2.3") is None


@pytest.mark.parametrize("text", ["169.254.169.254", "127.0.0.1"])
def test_another_rules_entry_for_exactly_that_address_opens_it_for_nobody_else(text: str) -> None:
    rules = build(rule("wide", cidrs="0.0.0.0/0"), rule("exact", cidrs=text, ports=(8443,)))
    assert literal(rules, text) is not None
    assert literal(rules, text, 8443) is None


def test_a_rule_that_names_its_clients_opens_its_own_cidrs_for_them() -> None:
    member = "10.1.1.1"
    rules = build(group("net", cidr="10.0.0.0/8"), rule("a", cidrs="192.168.0.0/16 169.254.169.254", clients="net"))
    for text in ("192.168.1.1", "169.254.169.254"):
        assert screen(rules, text, f"{text}:443", member) is None


def test_a_deny_that_does_not_match_leaves_a_rules_own_cidrs_open() -> None:
    rules = build(rule("a", cidrs="10.0.0.0/8"), deny("mail", cidrs="10.1.0.0/16", ports=(25,)))
    assert literal(rules, "10.1.2.3") is None


def test_a_rules_cidrs_never_widen_what_its_names_may_resolve_to() -> None:
    rules = build(rule("a", "x.test", cidrs="10.0.0.0/8 127.0.0.1"))
    assert not passes(rules, "10.1.2.3")
    assert not passes(rules, "127.0.0.1")


def test_another_rules_private_opens_nothing() -> None:
    assert not passes(build(ANY_RULE, rule("p", "y.test", terms=Terms(private=networks("10.0.0.0/8")))), "10.1.2.3")


# Refusals by policy


def test_addresses_deny_beats_every_exception() -> None:
    rules = build(private("x.test", "10.0.0.0/8"), allow="10.0.0.0/8", refuse="10.1.0.0/16 93.184.216.34")
    assert passes(rules, "10.2.0.1")
    assert not passes(rules, "10.1.0.1")
    assert not passes(rules, "93.184.216.34")
    assert not passes(rules, "::ffff:93.184.216.34")


def test_a_deny_rule_refuses_resolved_addresses_and_is_named() -> None:
    refusal = screen(build(ANY_RULE, deny("no", cidrs="93.184.0.0/16")), "93.184.216.34")
    assert refusal is not None
    assert (refusal.reason, refusal.rule and refusal.rule.name, refusal.enforced) == (
        Reason.DENIED_BY_RULE,
        "policy.yaml#no",
        True,
    )


def test_a_deny_rule_refuses_resolved_addresses_only_where_it_matches() -> None:
    rules = build(
        group("net", cidr="10.0.0.0/8"),
        ANY_RULE,
        deny("port", cidrs="93.1.0.0/16", ports=(8443,)),
        deny("client", cidrs="93.2.0.0/16", clients="net"),
        deny("not-client", cidrs="93.3.0.0/16", except_clients="net"),
        deny("not-host", cidrs="93.4.0.0/16", except_hosts="ok.test"),
        deny("not-cidr", cidrs="93.5.0.0/16", except_cidrs="93.5.5.0/24"),
    )
    member = "10.1.1.1"
    assert screen(rules, "93.1.0.1", "x.test:443") is None
    assert screen(rules, "93.1.0.1", "x.test:8443") is not None
    assert screen(rules, "93.2.0.1") is None
    assert screen(rules, "93.2.0.1", peer=member) is not None
    assert screen(rules, "93.3.0.1") is not None
    assert screen(rules, "93.3.0.1", peer=member) is None
    assert screen(rules, "93.4.0.1") is not None
    assert screen(rules, "93.4.0.1", "ok.test:443") is None
    assert screen(rules, "93.5.0.1") is not None
    assert screen(rules, "93.5.5.1") is None


def test_the_most_specific_deny_rule_is_named_and_an_enforced_one_before_one_in_report_mode() -> None:
    rules = build(
        ANY_RULE,
        deny("broad", cidrs="93.0.0.0/8"),
        deny("narrow", cidrs="93.1.0.0/16"),
        deny("soft", cidrs="93.1.1.0/24", mode=Mode.REPORT),
    )
    refusals = [screen(rules, text) for text in ("93.2.0.1", "93.1.2.1", "93.1.1.1")]
    assert [one.rule.name for one in refusals if one is not None and one.rule is not None] == [
        "policy.yaml#broad",
        "policy.yaml#narrow",
        "policy.yaml#narrow",
    ]


def test_a_teams_deny_refuses_addresses_for_that_team() -> None:
    rules = build(ANY_RULE, deny("team", cidrs="93.0.0.0/8", namespace="pay"))
    member = permitted(ask(rules, "x.test:443", client(namespace="pay")))
    assert member.screen(address("93.1.1.1")) is not None
    assert passes(rules, "93.1.1.1")


def test_a_deny_rule_in_report_mode_is_noted_and_the_address_may_be_dialled() -> None:
    refusal = screen(build(ANY_RULE, deny("no", cidrs="93.0.0.0/8"), mode=Mode.REPORT), "93.1.1.1")
    assert refusal is not None
    assert (refusal.enforced, refusal.reason) == (False, Reason.DENIED_BY_RULE)


def test_report_mode_never_relaxes_the_guard() -> None:
    rules = build(
        ANY_RULE, deny("no", cidrs="10.0.0.0/8 169.254.0.0/16"), mode=Mode.REPORT, refuse="93.184.216.34", own=""
    )
    for text in ("10.1.1.1", "169.254.169.254", "127.0.0.1", "224.0.0.1", "93.184.216.34"):
        refusal = screen(rules, text)
        assert refusal is not None
        assert refusal.enforced


def test_the_built_in_rule_reaches_global_unicast_only() -> None:
    rules = build(mode=Mode.REPORT, allow="10.0.0.0/8 127.0.0.1")
    assert passes(rules, "93.184.216.34")
    assert not passes(rules, "10.1.1.1")
    assert not passes(rules, "127.0.0.1")
    assert literal(rules, "10.1.1.1") is not None
    assert literal(rules, "93.184.216.34") is None


def test_a_deny_refuses_also_where_a_narrower_network_is_allowed() -> None:
    rules = build(
        ANY_RULE, rule("narrow", cidrs="93.184.216.0/24"), deny("wide", cidrs="93.0.0.0/8"), deny("port", "y.test")
    )
    refusal = screen(rules, "93.184.216.34")
    assert refusal is not None
    assert (refusal.enforced, refusal.rule and refusal.rule.name) == (True, "policy.yaml#wide")


def test_of_several_denies_in_report_mode_the_most_specific_is_noted() -> None:
    rules = build(ANY_RULE, deny("broad", cidrs="93.0.0.0/8"), deny("narrow", cidrs="93.1.0.0/16"), mode=Mode.REPORT)
    noted = screen(rules, "93.1.1.1")
    assert noted is not None
    assert (noted.enforced, noted.rule and noted.rule.name) == (False, "policy.yaml#narrow")


# What one permit remembers


@pytest.mark.parametrize(
    ("passing", "other"),
    [("93.184.216.34", "::93.184.216.34"), ("2606::1", "2606::2"), ("8.8.8.8", "8.8.8.9")],
)
def test_an_address_that_passed_opens_no_other_one(passing: str, other: str) -> None:
    """An IPv6 address may be the same number as an IPv4 one."""
    rules = build(ANY_RULE, refuse="2606::2 8.8.8.9")
    permit = permitted(ask(rules, "x.test:443"))
    for _ in range(2):
        assert permit.screen(address(passing)) is None
        assert permit.screen(address(other)) is not None


def test_what_passed_is_remembered_of_a_bounded_number_of_addresses() -> None:
    permit = permitted(ask(build(ANY_RULE), "x.test:443"))
    assert isinstance(permit.screen, guard.Screen)
    for number in range(2 * guard.REMEMBERED):
        assert permit.screen(Address(4, address("93.184.0.0").value + number)) is None
    assert len(permit.screen._passed) == guard.REMEMBERED


# Pins


def test_within_pins_a_rule_to_networks_and_opens_none() -> None:
    rules = build(rule("a", "*", terms=Terms(within=networks("93.184.0.0/16 10.0.0.0/8 2606::/16"))))
    assert passes(rules, "93.184.216.34")
    assert passes(rules, "2606::1")
    outside = screen(rules, "94.1.1.1")
    assert outside is not None
    assert (outside.reason, outside.rule and outside.rule.name) == (Reason.ADDRESS_REFUSED, "policy.yaml#a")
    assert not passes(rules, "10.1.1.1")


def test_within_is_enforced_in_report_mode_too() -> None:
    rules = build(
        rule("a", "*", terms=Terms(within=networks("93.0.0.0/8"))), deny("no", cidrs="0.0.0.0/0"), mode=Mode.REPORT
    )
    for form in ("", "64:ff9b::"):
        inside, outside = screen(rules, f"{form}93.1.1.1"), screen(rules, f"{form}94.1.1.1")
        assert inside is not None
        assert outside is not None
        assert (inside.enforced, outside.enforced) == (False, True)


def test_an_ipv4_pin_holds_the_nat64_form_of_its_addresses() -> None:
    rules = build(rule("a", "*", terms=Terms(within=networks("93.184.0.0/16"))))
    assert passes(rules, "64:ff9b::93.184.216.34")
    assert not passes(rules, "64:ff9b::94.1.1.1")


@pytest.mark.parametrize("form", ["compatible", "6to4", "teredo server", "teredo client"])
def test_an_ipv4_pin_holds_no_other_form_of_its_addresses(form: str) -> None:
    rules = build(rule("a", "*", terms=Terms(within=networks("93.184.0.0/16"))), allow=OWN_RANGES)
    assert passes(rules, "64:ff9b:1::93.184.216.34")
    assert not passes(rules, wrappings("93.184.216.34")[form])


# The gateway itself


def test_the_gateways_own_endpoints_are_never_dialled() -> None:
    rules = build(
        rule("any", "* ", ports=None, terms=Terms()),
        allow="127.0.0.0/8 10.0.0.0/8",
        listening={"10.0.0.5": 3128, "127.0.0.1": 9128},
        own="10.0.0.5 10.0.0.6 127.0.0.1",
    )
    loop = screen(rules, "10.0.0.5", "x.test:3128")
    assert loop is not None
    assert (loop.reason, loop.enforced) == (Reason.PROXY_LOOP, True)
    assert screen(rules, "10.0.0.6", "x.test:3128") is None
    assert screen(rules, "10.0.0.5", "x.test:443") is None
    assert screen(rules, "127.0.0.1", "x.test:9128") is not None
    assert screen(rules, "127.0.0.1", "x.test:3128") is None


@pytest.mark.parametrize("unspecified", ["0.0.0.0", "::"])
def test_an_unspecified_bind_stands_for_every_own_and_every_loopback_address(unspecified: str) -> None:
    rules = build(ANY_RULE, allow=EVERYTHING, listening={unspecified: 3128}, own="10.0.0.5 2606::5")
    for text in ("10.0.0.5", "::ffff:10.0.0.5", "2606::5", "127.0.0.1", "127.9.9.9", "::1", "64:ff9b::10.0.0.5"):
        refusal = screen(rules, text, "x.test:3128")
        assert refusal is not None
        assert refusal.reason is Reason.PROXY_LOOP
        assert screen(rules, text, "x.test:3129") is None
    assert screen(rules, "10.0.0.6", "x.test:3128") is None


# IPv4 inside IPv6


def wrappings(inner: str) -> dict[str, str]:
    value = address(inner).value
    high, low = f"{value >> 16:x}", f"{value & 0xFFFF:x}"
    inverted = value ^ 0xFFFFFFFF
    return {
        "compatible": f"::{inner}",
        "nat64": f"64:ff9b::{inner}",
        "local nat64": f"64:ff9b:1::{inner}",
        "6to4": f"2002:{high}:{low}::1",
        "teredo server": f"2001:0:{high}:{low}:0:0:f7f7:f7f7",
        "teredo client": f"2001:0:808:808:0:0:{inverted >> 16:x}:{inverted & 0xFFFF:x}",
    }


FORMS = list(wrappings("10.1.2.3"))
OWN_RANGES = "::/96 64:ff9b::/96 64:ff9b:1::/48 2002::/16 2001::/32"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inner", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "168.63.129.16", "224.0.0.1", "0.0.0.9"])
def test_a_wrapped_address_is_refused_like_the_plain_one_though_the_wrapping_is_opened(form: str, inner: str) -> None:
    refusal = screen(build(ANY_RULE, allow=OWN_RANGES), wrappings(inner)[form])
    assert refusal is not None
    assert refusal.address == address(wrappings(inner)[form])
    assert inner in refusal.detail


@pytest.mark.parametrize("form", FORMS)
def test_a_wrapped_global_address_passes_where_the_wrapping_is_open(form: str) -> None:
    text = wrappings("93.184.216.34")[form]
    assert passes(build(ANY_RULE, allow=OWN_RANGES), text)
    assert passes(build(ANY_RULE), text) is (form == "nat64")


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_for_the_ipv4_opens_only_the_mapped_and_nat64_forms(form: str) -> None:
    rules = build(ANY_RULE, allow=f"10.0.0.0/8 {OWN_RANGES}")
    assert passes(rules, wrappings("10.1.2.3")[form]) is (form in {"nat64", "local nat64"})
    assert passes(rules, "::ffff:10.1.2.3")
    assert passes(build(private("x.test", "127.0.0.1")), "64:ff9b::127.0.0.1")


@pytest.mark.parametrize("form", FORMS)
def test_a_deny_on_the_ipv4_refuses_every_form(form: str) -> None:
    text = wrappings("93.184.216.34")[form]
    by_rule = screen(build(ANY_RULE, deny("no", cidrs="93.184.0.0/16"), allow=OWN_RANGES), text)
    assert by_rule is not None
    assert by_rule.rule is not None
    assert by_rule.address == address(text)
    assert not passes(build(ANY_RULE, allow=OWN_RANGES, refuse="93.184.0.0/16"), text)
    noted = screen(build(ANY_RULE, deny("no", cidrs="93.184.0.0/16", mode=Mode.REPORT), allow=OWN_RANGES), text)
    assert noted is not None
    assert (noted.enforced, noted.address) == (False, address(text))


def test_a_literal_that_carries_a_denied_address_is_screened_too() -> None:
    rules = build(rule("a", cidrs="64:ff9b::/96"), deny("no", cidrs="93.184.0.0/16", except_cidrs="93.184.7.0/24"))
    assert literal(rules, "64:ff9b::93.184.216.34") is not None
    assert literal(rules, "64:ff9b::93.184.7.1") is None
    assert literal(rules, "64:ff9b::10.1.1.1") is not None


# Against the standard library

V4 = st.integers(0, (1 << 32) - 1).map(lambda value: Address(4, value))
V6 = st.integers(0, (1 << 128) - 1).map(lambda value: Address(6, value))
# Near an edge of some assigned range, where the two might differ.
EDGES = [
    Address(version, min(max(start + step, 0), (1 << width) - 1))
    for version, width in WIDTH.items()
    for start in guard._RANGES[version][0]
    for step in (-1, 0, 1)
]
# Where our answer is meant to differ: metadata in public space, retired 6to4, the registries' exceptions.
OURS = networks("168.63.129.16 192.88.99.0/24 192.0.0.0/24 2001::/23 fec0::/10 64:ff9b::/96 64:ff9b:1::/48 2002::/16")


def agrees_with_the_library(asked: Address) -> None:
    theirs = ipaddress.IPv4Address(asked.value) if asked.version == 4 else ipaddress.IPv6Address(asked.value)
    kind = block_of(asked).kind
    if any(asked in own for own in OURS) or asked in network("3fff::/20"):
        return
    if theirs.is_multicast or theirs.is_unspecified or str(theirs) == "255.255.255.255":
        expected = {Kind.NEVER}
    elif theirs.is_loopback:
        expected = {Kind.LOOPBACK}
    elif theirs.is_link_local:
        expected = {Kind.LOCAL}
    elif asked.version == 4:
        expected = {Kind.GLOBAL} if theirs.is_global else {Kind.SPECIAL, Kind.LOCAL}
    else:
        # The library calls what is not assigned at all global; only 2000::/3 is.
        public = asked.value >> 125 == 1 and theirs.is_global
        expected = {Kind.GLOBAL} if public else {Kind.SPECIAL, Kind.LOCAL}
    assert kind in expected, (str(theirs), kind)


@given(st.one_of(V4, V6, st.sampled_from(EDGES)))
@example(address("10.0.0.1"))
def test_kinds_agree_with_the_standard_library_where_that_is_right(asked: Address) -> None:
    agrees_with_the_library(asked)


def test_every_edge_of_an_assigned_range_agrees_with_the_standard_library() -> None:
    for edge in EDGES:
        agrees_with_the_library(edge)


def test_the_comparison_notices_a_range_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(item for item in guard._ASSIGNED if item[0] != "172.16.0.0/12")
    monkeypatch.setattr(guard, "_ASSIGNED", without)
    monkeypatch.setitem(guard._RANGES, 4, guard._flatten(4))
    with pytest.raises(AssertionError):
        agrees_with_the_library(address("172.20.0.1"))


def library_embedded(value: int) -> set[int]:
    """What the standard library finds inside (it knows 6to4 and Teredo), and the plain last 32 bits elsewhere."""
    theirs = ipaddress.IPv6Address(value)
    if theirs.sixtofour is not None:
        return {int(theirs.sixtofour)}
    if theirs.teredo is not None:
        return {int(one) for one in theirs.teredo}
    prefixes = ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")
    carries = value > 1 and any(theirs in ipaddress.IPv6Network(prefix) for prefix in prefixes)
    return {value & 0xFFFFFFFF} if carries else set()


def test_an_ipv4_address_carries_none() -> None:
    assert list(guard.embedded_in(address("93.184.216.34"))) == []


PREFIXES = st.sampled_from(["::", "64:ff9b::", "64:ff9b:1::", "2002::", "2001::", "2001:1::", "2606::", "fe80::"])
WRAPPED = st.builds(
    lambda prefix, bits: int(ipaddress.IPv6Address(prefix)) | bits, PREFIXES, st.integers(0, (1 << 96) - 1)
)


def embedding_agrees(value: int, shift: int = 0) -> None:
    asked = Address(6, value)
    if value >> 32 == 0xFFFF:  # a mapped address is never represented as IPv6
        return
    assert {inner.value >> shift for inner, _ in guard.embedded_in(asked)} == library_embedded(value)


@given(WRAPPED)
def test_the_embedded_addresses_are_those_that_the_standard_library_finds(value: int) -> None:
    embedding_agrees(value)


def test_the_comparison_notices_addresses_taken_from_the_wrong_bits() -> None:
    with pytest.raises(AssertionError):
        embedding_agrees(int(ipaddress.IPv6Address("2002:808:808::1")), shift=1)


@pytest.mark.parametrize("version", [4, 6])
def test_every_address_lies_in_the_narrowest_of_the_assigned_ranges_around_it(version: Version) -> None:
    chance = random.Random(version)
    table = [(network(text), kind, purpose) for text, kind, purpose in guard._ASSIGNED]
    for asked in [Address(version, chance.getrandbits(WIDTH[version])) for _ in range(2000)] + EDGES:
        around = [item for item in table if asked in item[0]]
        _, kind, purpose = max(around, key=lambda item: item[0].length)
        assert (block_of(asked).kind, block_of(asked).purpose) == (kind, purpose)


def test_groups_of_ipv4_networks_hold_mapped_peers() -> None:
    rules = build(group("net", Match(cidr=network("10.0.0.0/8"))), rule("a", "x.test", clients="net"))
    assert permitted(ask(rules, "x.test:443", client("::ffff:10.1.1.1"))).groups == ("net",)


@pytest.mark.parametrize("version", [4, 6])
def test_blocks_cover_every_address_once_and_in_order(version: Version) -> None:
    found = list(blocks(version))
    assert found[0][0].value == 0
    assert found[-1][1].value == (1 << WIDTH[version]) - 1
    for (_, end, _), (start, _, _) in pairwise(found):
        assert start.value == end.value + 1
    assert all(block_of(first) == block_of(last) == block for first, last, block in found)
