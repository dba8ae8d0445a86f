"""The first bytes and the name in the TLS, against what was permitted."""

import pytest

from gateway.model.authority import parse_authority
from gateway.model.client import Client
from gateway.model.decision import Deny, EchRule, Terms, WouldDeny
from gateway.model.intent import Intent, Opening, Protocol
from gateway.model.reasons import Reason
from gateway.policy.confirm import confirm, confirm_host
from gateway.policy.index import Rules
from gateway.policy.rules import Mode
from tests.policy.builders import (
    HTTP,
    NOW,
    OTHER,
    SNI_ANY,
    SNI_RULE,
    address,
    ask,
    build,
    client,
    connect,
    deny,
    group,
    hello,
    permitted,
    rule,
    transparent,
)

REPORT = Mode.REPORT


def check(
    rules: Rules, target: str | Intent, opening: Opening, who: Client | None = None
) -> Reason | tuple[str, Reason] | None:
    """The reason of a refusal, `("would", reason)` for one set aside, None if confirmed."""
    verdict = outcome(rules, target, opening, who)
    if isinstance(verdict, WouldDeny):
        return "would", verdict.reason
    return None if verdict is None else verdict.reason


def outcome(rules: Rules, target: str | Intent, opening: Opening, who: Client | None = None) -> Deny | WouldDeny | None:
    who = who or client()
    intent = connect(target) if isinstance(target, str) else target
    return confirm(permitted(ask(rules, intent, who)), opening, who, intent, rules, NOW)


TLS = hello("x.test")


@pytest.mark.parametrize(
    ("protocol", "opening", "expected"),
    [
        (Protocol.TLS, TLS, None),
        (Protocol.TLS, HTTP, Reason.PROTOCOL_MISMATCH),
        (Protocol.TLS, OTHER, Reason.PROTOCOL_MISMATCH),
        (Protocol.HTTP, TLS, Reason.PROTOCOL_MISMATCH),
        (Protocol.HTTP, HTTP, None),
        (Protocol.HTTP, OTHER, Reason.PROTOCOL_MISMATCH),
        (Protocol.AUTO, TLS, None),
        (Protocol.AUTO, HTTP, None),
        (Protocol.AUTO, OTHER, Reason.PROTOCOL_MISMATCH),
        (Protocol.TCP, TLS, None),
        (Protocol.TCP, HTTP, None),
        (Protocol.TCP, OTHER, None),
    ],
)
def test_the_first_bytes_must_be_what_the_rule_says(
    protocol: Protocol, opening: Opening, expected: Reason | None
) -> None:
    assert check(build(rule("a", "x.test", protocol=protocol)), "x.test:443", opening) is expected


def test_what_speaks_the_wrong_protocol_is_refused_for_that_whatever_name_it_says() -> None:
    rules = build(rule("a", "x.test", protocol=Protocol.HTTP), deny("no", "denied.test"))
    assert check(rules, "x.test:443", hello("denied.test")) is Reason.PROTOCOL_MISMATCH


def test_a_protocol_mismatch_is_set_aside_in_report_mode() -> None:
    assert check(build(rule("a", "x.test"), mode=REPORT), "x.test:443", HTTP) == ("would", Reason.PROTOCOL_MISMATCH)


def test_tcp_is_not_looked_at() -> None:
    rules = build(rule("a", "x.test", protocol=Protocol.TCP, terms=Terms(ech=EchRule.DENY)), deny("no", "y.test"))
    assert check(rules, "x.test:443", hello("y.test", ech=True)) is None


@pytest.mark.parametrize(
    ("terms", "name", "expected"),
    [
        (Terms(), "x.test", None),
        (Terms(), "X.TEST.", None),
        (Terms(), "y.test", Reason.SNI_MISMATCH),
        (Terms(), "sub.x.test", Reason.SNI_MISMATCH),
        (Terms(), None, Reason.SNI_MISSING),
        (Terms(), "denied.test", Reason.SNI_DENIED),
        (SNI_RULE, "y.test", None),
        (SNI_RULE, "other.test", Reason.SNI_MISMATCH),
        (SNI_RULE, "nowhere.org", Reason.SNI_MISMATCH),
        (SNI_RULE, None, Reason.SNI_MISSING),
        (SNI_RULE, "denied.test", Reason.SNI_DENIED),
        (SNI_ANY, "nowhere.org", None),
        (SNI_ANY, None, None),
        (SNI_ANY, "denied.test", Reason.SNI_DENIED),
    ],
)
def test_the_name_in_the_tls_is_judged_as_the_rule_says(
    terms: Terms, name: str | None, expected: Reason | None
) -> None:
    rules = build(rule("a", "x.test y.test", terms=terms), rule("b", "other.test"), deny("no", "denied.test"))
    assert check(rules, "x.test:443", hello(name)) is expected


def test_the_name_is_judged_for_the_same_client_and_port() -> None:
    rules = build(
        group("net", cidr="10.0.0.0/8"),
        rule("a", "x.test", terms=SNI_ANY, ports=None),
        deny("port", "port.test", ports=(8443,)),
        deny("client", "client.test", clients="net"),
    )
    assert check(rules, "x.test:443", hello("port.test")) is None
    assert check(rules, "x.test:8443", hello("port.test")) is Reason.SNI_DENIED
    assert check(rules, "x.test:443", hello("client.test")) is None
    assert check(rules, "x.test:443", hello("client.test"), client("10.1.1.1")) is Reason.SNI_DENIED


def test_the_refusal_names_the_rules_on_both_sides() -> None:
    rules = build(rule("a", "*.a.test", terms=SNI_RULE), rule("b", "b.a.test"), deny("no", "denied.test"))
    mismatch = outcome(rules, "x.a.test:443", hello("b.a.test"))
    assert isinstance(mismatch, Deny)
    assert mismatch.rule is not None
    assert (mismatch.rule.name, mismatch.also) == ("policy.yaml#a", ("policy.yaml#b",))
    refusal = outcome(rules, "x.a.test:443", hello("denied.test"))
    assert isinstance(refusal, Deny)
    assert refusal.rule is not None
    assert refusal.rule.name == "policy.yaml#no"


@pytest.mark.parametrize(
    ("name", "expected"), [(None, None), ("anything.org", None), ("denied.test", Reason.SNI_DENIED)]
)
def test_with_a_literal_only_deny_rules_judge_the_name(name: str | None, expected: Reason | None) -> None:
    rules = build(rule("a", cidrs="93.184.216.0/24"), deny("no", "denied.test"))
    assert check(rules, "93.184.216.34:443", hello(name)) is expected


def test_a_transparent_name_allowed_by_its_address_is_the_name_in_the_tls() -> None:
    rules = build(rule("a", cidrs="93.184.216.0/24"))
    intent = transparent("x.test", "93.184.216.34")
    assert permitted(ask(rules, intent)).authority.host == address("93.184.216.34")
    assert check(rules, intent, hello("x.test")) is None


def test_a_team_deny_refuses_a_name_of_which_no_platform_rule_speaks() -> None:
    rules = build(
        rule("a", "x.test", terms=SNI_ANY),
        rule("b", "b.test"),
        deny("team", "b.test c.test", namespace="pay"),
    )
    pay = client(namespace="pay")
    assert check(rules, "x.test:443", hello("b.test"), pay) is None
    assert check(rules, "x.test:443", hello("c.test"), pay) is Reason.SNI_DENIED
    assert check(rules, "x.test:443", hello("c.test")) is None


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.REPORT])
def test_ech_is_refused_where_the_rule_says_so_in_every_mode(mode: Mode) -> None:
    rules = build(rule("a", "x.test", terms=Terms(ech=EchRule.DENY)), rule("b", "y.test"), mode=mode)
    assert check(rules, "x.test:443", hello("x.test", ech=True)) is Reason.ECH_DENIED
    assert check(rules, "x.test:443", hello("x.test")) is None
    assert check(rules, "y.test:443", hello("y.test", ech=True)) is None


def test_with_ech_the_outer_name_is_judged_like_any() -> None:
    assert check(build(rule("a", "x.test")), "x.test:443", hello("public.test", ech=True)) is Reason.SNI_MISMATCH


@pytest.mark.parametrize(
    ("name", "reason"),
    [(None, Reason.SNI_MISSING), ("y.test", Reason.SNI_MISMATCH), ("denied.test", Reason.SNI_DENIED)],
)
def test_sni_disagreements_are_set_aside_in_report_mode(name: str | None, reason: Reason) -> None:
    rules = build(rule("a", "x.test"), deny("no", "denied.test"), mode=REPORT)
    assert check(rules, "x.test:443", hello(name)) == ("would", reason)


def test_each_rule_that_refuses_is_set_aside_by_its_own_mode() -> None:
    soft_deny = build(rule("a", "x.test"), deny("no", "denied.test", mode=REPORT))
    assert check(soft_deny, "x.test:443", hello("denied.test")) is Reason.SNI_MISMATCH
    soft_rule = build(rule("a", "x.test", mode=REPORT), deny("no", "denied.test"))
    assert check(soft_rule, "x.test:443", hello("denied.test")) is Reason.SNI_DENIED
    lone_deny = build(rule("a", "x.test", terms=SNI_ANY), deny("no", "denied.test", mode=REPORT))
    assert check(lone_deny, "x.test:443", hello("denied.test")) == ("would", Reason.SNI_DENIED)


def test_a_name_is_judged_though_the_protocol_was_set_aside() -> None:
    rules = build(
        rule("a", "x.test", protocol=Protocol.HTTP, mode=REPORT), deny("no", "denied.test"), rule("b", "y.test")
    )
    assert check(rules, "x.test:443", hello("denied.test")) is Reason.SNI_DENIED
    assert check(rules, "x.test:443", hello("y.test")) == ("would", Reason.PROTOCOL_MISMATCH)


@pytest.mark.parametrize("opening", [TLS, HTTP, OTHER, hello(None), hello("y.test")])
def test_the_built_in_rule_only_observes(opening: Opening) -> None:
    assert check(build(mode=REPORT), "x.test:2525", opening) is None


def test_a_deny_that_enforces_refuses_names_under_the_built_in_rule_too() -> None:
    rules = build(deny("hard", "denied.test", mode=Mode.ENFORCE), deny("soft", "soft.test"), mode=REPORT)
    assert check(rules, "x.test:443", hello("denied.test")) is Reason.SNI_DENIED
    assert check(rules, "x.test:443", hello("soft.test")) == ("would", Reason.SNI_DENIED)


# Whom a request inside the tunnel names


def names(rules: Rules, target: str, host: str, who: Client | None = None) -> Deny | WouldDeny | None:
    who, intent, authority = who or client(), connect(target), parse_authority(host, connect(target).authority.port)
    assert authority is not None
    return confirm_host(permitted(ask(rules, intent, who)), authority, who, intent, rules, NOW)


@pytest.mark.parametrize(
    ("terms", "host", "expected"),
    [
        (Terms(), "x.test", None),
        (Terms(), "y.test", Reason.HOST_MISMATCH),
        (Terms(), "denied.test", Reason.HOST_DENIED),
        (SNI_RULE, "y.test", None),
        (SNI_RULE, "other.test", Reason.HOST_MISMATCH),
        (SNI_RULE, "denied.test", Reason.HOST_DENIED),
        (SNI_ANY, "nowhere.org", None),
        (SNI_ANY, "93.184.216.34", None),
        (SNI_ANY, "denied.test", Reason.HOST_DENIED),
        (SNI_ANY, "x.test:444", Reason.HOST_MISMATCH),
        (SNI_ANY, "denied.test:444", Reason.HOST_MISMATCH),
    ],
)
def test_the_host_of_a_request_is_judged_as_the_name_in_the_tls_and_its_port_always(
    terms: Terms, host: str, expected: Reason | None
) -> None:
    rules = build(rule("a", "x.test y.test", terms=terms), rule("b", "other.test"), deny("no", "denied.test"))
    verdict = names(rules, "x.test:443", host)
    assert (verdict and verdict.reason) is expected
    assert verdict is None or isinstance(verdict, Deny)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("93.184.216.34", None),
        ("anything.org", None),
        ("denied.test", Reason.HOST_DENIED),
        ("anything.org:444", Reason.HOST_MISMATCH),
    ],
)
def test_in_a_tunnel_to_a_literal_only_deny_rules_judge_the_host(host: str, expected: Reason | None) -> None:
    rules = build(rule("a", cidrs="93.184.216.0/24"), deny("no", "denied.test"))
    verdict = names(rules, "93.184.216.34:443", host)
    assert (verdict and verdict.reason) is expected


def test_a_refused_host_is_told_with_the_rules_on_both_sides_and_set_aside_in_report_mode() -> None:
    parts = rule("a", "x.test"), rule("b", "b.test"), deny("no", "denied.test")
    mismatch, refusal = (names(build(*parts), "x.test:443", host) for host in ("b.test", "denied.test"))
    assert isinstance(mismatch, Deny)
    assert isinstance(refusal, Deny)
    assert mismatch.rule is not None
    assert (mismatch.rule.name, mismatch.also) == ("policy.yaml#a", ("policy.yaml#b",))
    assert (mismatch.detail, refusal.detail) == ("Host b.test:443", "Host denied.test:443")
    assert (refusal.rule and refusal.rule.name, refusal.generation) == ("policy.yaml#no", 7)
    reporting = build(*parts, mode=REPORT)
    asides = [names(reporting, "x.test:443", host) for host in ("b.test", "denied.test", "b.test:444")]
    assert all(isinstance(aside, WouldDeny) for aside in asides)
    assert [aside.reason for aside in asides if aside] == [
        Reason.HOST_MISMATCH,
        Reason.HOST_DENIED,
        Reason.HOST_MISMATCH,
    ]
