"""Which rule decides, who may say what, and what report mode lets pass."""

import pytest

from gateway.model.addresses import Address
from gateway.model.authority import Authority
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import OF_THE_CLIENT, Deny, Resolve, SniRule, Source, Terms, Timeouts, WouldDeny
from gateway.model.inspection.terms import Inspection
from gateway.model.intent import Protocol
from gateway.model.limits.limit import Applied, Counted, KeyPart, Limit
from gateway.model.reasons import Reason
from gateway.policy import index
from gateway.policy.index import REPORT_ONLY, Rules, build_rules
from gateway.policy.rules import Group, Match, Mode, Policy
from tests.policy.builders import (
    NOW,
    address,
    ask,
    build,
    client,
    connect,
    deciding,
    denied,
    deny,
    get,
    group,
    network,
    permitted,
    rule,
    transparent,
)

REPORT, ENFORCE = Mode.REPORT, Mode.ENFORCE


def test_the_empty_policy_denies_everything() -> None:
    verdict = denied(ask(build(), "x.test:443"))
    assert (verdict.reason, verdict.rule, verdict.generation) == (Reason.NO_RULE, None, 7)


def test_a_permit_carries_what_was_asked_and_what_the_rule_says() -> None:
    terms = Terms(Protocol.AUTO, SniRule.RULE, inspection=Inspection(), timeouts=Timeouts(idle=5.0))
    rules = build(group("net", cidr="10.0.0.0/8"), rule("a", "x.test", terms=terms))
    permit = permitted(ask(rules, "X.test.:443", client("10.1.1.1")))
    assert permit.authority == connect("x.test:443").authority
    assert (permit.terms.protocol, permit.terms.sni, permit.terms.inspect) == (Protocol.TLS, SniRule.RULE, True)
    assert permit.terms.timeouts.idle == 5.0
    assert (permit.groups, permit.also, permit.would_deny, permit.report) == (("net",), (), None, False)


# Destinations


def test_a_name_is_never_judged_by_cidrs_nor_a_literal_by_hosts() -> None:
    rules = build(rule("both", "x.test", cidrs="93.184.216.0/24"), rule("star", "*.org"))
    assert deciding(ask(rules, "x.test:443")) == deciding(ask(rules, "93.184.216.34:443")) == "both"
    assert denied(ask(build(rule("star", "*")), "93.184.216.34:443")).reason is Reason.NO_RULE
    assert denied(ask(build(rule("all", cidrs="0.0.0.0/0")), "x.test:443")).reason is Reason.NO_RULE


def test_nothing_is_inherited_from_a_broader_rule() -> None:
    rules = build(
        rule("broad", "*.test", terms=Terms(inspection=Inspection(), sni=SniRule.RULE)), rule("narrow", "x.test")
    )
    terms = permitted(ask(rules, "x.test:443")).terms
    assert (terms.inspect, terms.sni) == (False, SniRule.MATCH)


def test_a_single_label_name_needs_an_exact_rule() -> None:
    rules = build(rule("any", "*"), rule("printer", "printer"))
    assert deciding(ask(rules, "printer:443")) == "printer"
    verdict = denied(ask(rules, "intranet:443"))
    assert verdict.reason is Reason.NO_RULE
    assert "single-label" in verdict.detail


# Denies


# Clients


def test_who_shows_credentials_from_a_pod_in_doubt_may_be_whose_pod_it_wants_not_to_be() -> None:
    """A pod in its node's network has no namespace that we know; its password must not lift what is denied to it."""
    rules = build(
        group("users", user="ci"),
        group("shady", Match(namespace="shady")),
        rule("x", "x.test", clients="users"),
        rule("y", "y.test", clients="users"),
        rule("z", "z.test", clients="users", except_clients="shady"),
        deny("no", "x.test", clients="shady"),
        deny("not", "y.test", except_clients="shady"),
    )
    known, doubted = client("10.1.1.1", user="ci"), client("10.1.1.1", user="ci", doubt="host_network")
    asked = [("x.test:443", "x", "no"), ("y.test:443", "not", "not"), ("z.test:443", "z", None)]
    for target, by_known, by_doubted in asked:
        assert deciding(ask(rules, target, known)) == by_known
        assert deciding(ask(rules, target, doubted)) == by_doubted


def test_a_token_says_its_namespace_and_leaves_labels_in_doubt() -> None:
    rules = build(
        group("here", Match(namespace="here")),
        group("there", Match(namespace="there")),
        group("labelled", Match(namespace="here", labels=(("app", "batch"),))),
        group("elsewhere", Match(namespace="there", labels=(("app", "batch"),))),
        group("admin", Match(namespace="here", service_account="admin")),
        rule("all", "*.test", clients="here"),
        deny("not", "x.test", clients="there elsewhere admin"),
        deny("labelled", "y.test", clients="labelled"),
    )
    for doubt, by in ((None, "all"), ("stale", "labelled")):
        who = client("10.1.1.1", namespace="here", service_account="api", doubt=doubt)
        assert deciding(ask(rules, "x.test:443", who)) == "all"
        assert deciding(ask(rules, "y.test:443", who)) == by


def test_a_required_identity_is_more_than_an_address() -> None:
    rules = build(rule("a", "x.test"), identity_required=True, mode=REPORT)
    missing = denied(ask(rules, "x.test:443"))
    assert (missing.reason, missing.detail) == (
        Reason.CREDENTIALS_MISSING,
        "an address alone is no identity here",
    )
    assert denied(ask(rules, "x.test:443", client(namespace="pay", known=False))).reason is Reason.CREDENTIALS_MISSING
    assert deciding(ask(rules, "x.test:443", client(user="ci"))) == "a"


def test_every_verdict_names_the_groups_of_its_client_and_their_limits_hold_under_the_built_in_rule_too() -> None:
    limit = Limit("net.connections", Counted.CONNECTIONS, 1.0)
    net = Group("net", (Match(cidr=network("10.0.0.0/8")),), limits=(limit,))
    rules = (rule("a", "x.test"), deny("no", "denied.test"))
    member, targets = client("10.1.1.1"), ("x.test:443", "denied.test:443", "y.test:443", "a.cluster.local:443")
    verdicts = [ask(build(net, *rules), target, member) for target in targets]
    built_in = permitted(ask(build(net, *rules, mode=REPORT), "y.test:443", member))
    assert [verdict.groups for verdict in (*verdicts, built_in)] == [("net",)] * 5
    assert denied(verdicts[2]).detail == ""
    for permit in (permitted(verdicts[0]), built_in):
        assert permit.limits == (Applied(limit),)


def test_a_limit_for_each_group_tells_those_apart_that_its_rule_names_or_else_all() -> None:
    limit = Limit("l", Counted.CONNECTIONS, 1.0, key=(KeyPart.GROUP,))
    terms = Terms(limits=(limit,))
    rules = build(
        group("net", cidr="10.0.0.0/8"),
        group("ci", user="ci"),
        rule("some", "some.test", clients="net", terms=terms),
        rule("all", "all.test", terms=terms),
    )
    member = client("10.1.1.1", user="ci")
    assert permitted(ask(rules, "some.test:443", member)).limits == (Applied(limit, ("net",)),)
    assert permitted(ask(rules, "all.test:443", member)).limits == (Applied(limit, ("ci", "net")),)


# Exceptions and expiry


# Doors


def test_absolute_form_on_a_tls_rule_is_a_mismatch() -> None:
    rules = build(rule("a", "x.test", ports=None), rule("tls", "y.test", ports=(80,), protocol=Protocol.TLS))
    verdict = denied(ask(rules, get("x.test:443")))
    assert (verdict.reason, deciding(verdict)) == (Reason.PROTOCOL_MISMATCH, "a")
    assert verdict.detail == "http on port 443, where the rule says tls"
    assert denied(ask(rules, get("y.test"))).reason is Reason.PROTOCOL_MISMATCH


def test_a_transparent_name_that_no_rule_allows_is_allowed_by_the_address_and_then_only_that_is_dialled() -> None:
    rules = build(rule("name", "x.test"), rule("range", cidrs="93.184.216.0/24"))
    by_name = permitted(ask(rules, transparent("x.test", "93.184.216.34")))
    assert (deciding(by_name), str(by_name.authority)) == ("name", "x.test:443")
    by_address = permitted(ask(rules, transparent("y.test", "93.184.216.34")))
    assert deciding(by_address) == "range"
    assert by_address.authority == Authority(address("93.184.216.34"), 443)


def test_a_claimed_name_excepts_no_original_address_from_a_deny() -> None:
    rules = build(rule("range", cidrs="93.0.0.0/8"), deny("no", cidrs="93.184.0.0/16", except_hosts="ok.test"))
    assert deciding(ask(rules, transparent("ok.test", "93.184.216.34"))) == "no"


@pytest.mark.parametrize("name", ["printer", "api.default.svc.cluster.local"])
def test_a_transparent_name_that_needs_an_exact_rule_is_allowed_by_the_address_all_the_same(name: str) -> None:
    rules = build(rule("any", "*"), rule("range", cidrs="93.184.216.0/24"))
    permit = permitted(ask(rules, transparent(name, "93.184.216.34")))
    assert (deciding(permit), permit.authority.host) == ("range", address("93.184.216.34"))
    assert isinstance(ask(rules, transparent(name, "94.1.1.1")), Deny)


def test_where_nothing_allows_the_built_in_rule_screens_for_the_name_that_was_asked() -> None:
    rules = build(
        rule("other-port", cidrs="93.0.0.0/8", ports=(8443,)),
        deny("no", cidrs="94.0.0.0/8", except_hosts="ok.test", mode=ENFORCE),
        mode=REPORT,
    )
    permit = permitted(ask(rules, transparent("ok.test", "93.184.216.34")))
    assert permit.rule is REPORT_ONLY
    assert permit.screen(address("94.1.1.1")) is None


# The cluster's names


@pytest.mark.parametrize("name", ["cluster.local", "api.default.svc.cluster.local"])
def test_in_cluster_names_are_refused_with_the_cure_unless_an_exact_rule_allows_them(name: str) -> None:
    verdict = denied(ask(build(rule("any", "* *.cluster.local")), f"{name}:443"))
    assert verdict.reason is Reason.IN_CLUSTER_NAME
    assert "add to NO_PROXY" in verdict.detail
    assert deciding(ask(build(rule("any", "*"), rule("exact", name)), f"{name}:443")) == "exact"


def test_in_cluster_names_are_refused_in_report_mode_too() -> None:
    assert denied(ask(build(mode=REPORT), "a.cluster.local:443")).reason is Reason.IN_CLUSTER_NAME


def test_a_name_that_only_ends_like_the_cluster_is_an_ordinary_one() -> None:
    assert deciding(ask(build(rule("any", "*")), "mycluster.local:443")) == "any"


def test_without_cluster_domains_no_name_is_in_a_cluster() -> None:
    policy = build(rule("any", "*")).policy
    cluster = type(policy.cluster)(domains=())
    rules = build_rules(Policy(policy.rules, cluster=cluster), 1)
    assert deciding(ask(rules, "a.cluster.local:443")) == "any"


# Tiers


@pytest.fixture
def tiered() -> Rules:
    return build(
        rule("platform", "*.test"),
        deny("forbidden", "*.bad.org", ports=(443,)),
        rule("mine", "x.org deep.x.test y.bad.org", namespace="pay", ports=(443, 8443)),
        deny("mine-not", "x.test z.org", namespace="pay"),
        rule("theirs", "t.org", namespace="other"),
    )


PAY = client("10.1.1.1", namespace="pay")


def test_a_team_adds_destinations_for_its_own_namespace_only(tiered: Rules) -> None:
    assert deciding(ask(tiered, "x.org:443", PAY)) == "mine"
    assert denied(ask(tiered, "t.org:443", PAY)).reason is Reason.NO_RULE
    assert denied(ask(tiered, "x.org:443")).reason is Reason.NO_RULE
    assert denied(ask(tiered, "x.org:443", client(namespace="pay", known=False))).reason is Reason.NO_RULE


def test_a_team_rule_is_not_asked_where_a_platform_rule_matches(tiered: Rules) -> None:
    assert deciding(ask(tiered, "deep.x.test:443", PAY)) == "platform"
    assert deciding(ask(tiered, "x.test:443", PAY)) == "platform"
    assert deciding(ask(tiered, "y.bad.org:443", PAY)) == "forbidden"
    assert deciding(ask(tiered, "y.bad.org:8443", PAY)) == "mine"


def test_a_team_may_deny_what_no_platform_rule_speaks_of(tiered: Rules) -> None:
    assert deciding(denied(ask(tiered, "z.org:443", PAY))) == "mine-not"


# Report mode


def test_what_no_rule_allows_passes_under_the_built_in_rule() -> None:
    rules = build_rules(Policy(mode=REPORT, timeouts=Timeouts(idle=9.0)), 1)
    permit = permitted(ask(rules, "x.test:2525"))
    assert permit.rule is REPORT_ONLY
    assert (permit.would_deny, permit.report) == (WouldDeny(Reason.NO_RULE), True)
    assert permit.terms == Terms(Protocol.AUTO, SniRule.ANY, timeouts=Timeouts(idle=9.0))


def test_a_platform_deny_set_aside_leaves_room_for_the_team() -> None:
    rules = build(deny("soft", "x.org", mode=REPORT), rule("mine", "x.org", namespace="pay"))
    permit = permitted(ask(rules, "x.org:443", PAY))
    assert deciding(permit) == "mine"
    assert permit.would_deny is not None


def test_a_protocol_mismatch_at_the_door_is_set_aside_by_the_mode_of_its_rule() -> None:
    permit = permitted(ask(build(rule("a", "x.test", mode=REPORT)), get("x.test:443")))
    assert permit.would_deny == WouldDeny(Reason.PROTOCOL_MISMATCH, permit.rule)
    strict = build(rule("a", "x.test", mode=ENFORCE), mode=REPORT)
    assert denied(ask(strict, get("x.test:443"))).reason is Reason.PROTOCOL_MISMATCH


def test_of_a_deny_and_a_mismatch_that_are_both_set_aside_the_deny_is_recorded() -> None:
    rules = build(rule("a", "x.test", mode=REPORT), deny("no", "x.test", mode=REPORT))
    permit = permitted(ask(rules, get("x.test:443")))
    assert permit.would_deny is not None
    assert permit.would_deny.reason is Reason.DENIED_BY_RULE


def test_a_denial_is_remembered_until_a_rule_expires() -> None:
    rules = build(rule("a", "x.test", expires=NOW + 10), deny("d", "x.test"))
    first = denied(ask(rules, "x.test:443"))
    assert ask(rules, "x.test:443") is first
    assert ask(rules, "x.test:443", client("10.9.9.9")) is not first
    assert ask(rules, "x.test:443", now=NOW + 10) is not first


def test_however_many_names_are_denied_no_permit_is_forgotten_and_denials_stay_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index, "MOST_DENIALS", 2)
    rules = build(rule("a", "x.test"))
    permit, denial = permitted(ask(rules, "x.test:443")), denied(ask(rules, "0.other.test:443"))
    for number in range(1, 4):
        denied(ask(rules, f"{number}.other.test:443"))
    assert ask(rules, "x.test:443") is permit
    assert ask(rules, "0.other.test:443") is not denial


def test_what_was_decided_for_labels_is_not_kept_for_others_or_for_later() -> None:
    labelled = group("api", Match(namespace="pay", labels=(("app", "api"),)))
    rules = build(labelled, group("net", cidr="10.0.0.0/8"), rule("a", "x.test", clients="api"))
    pod = client(namespace="pay", labels={"app": "api"})
    assert deciding(ask(rules, "x.test:443", pod)) == "a"
    assert denied(ask(rules, "x.test:443", pod._replace(labels={"app": "web"}))).reason is Reason.NO_RULE
    assert denied(ask(rules, "x.test:443", pod._replace(labels=None))).reason is Reason.NO_RULE


def test_nor_what_was_decided_for_the_labels_of_a_namespace() -> None:
    team = group("team", Match(namespace_labels=(("team", "pay"),)))
    rules = build(team, group("net", cidr="10.0.0.0/8"), rule("a", "x.test", clients="team"))
    token = client(namespace="pay")._replace(namespace_labels={"team": "pay"})
    assert deciding(ask(rules, "x.test:443", token)) == "a"
    assert denied(ask(rules, "x.test:443", token._replace(namespace_labels={}))).reason is Reason.NO_RULE
    assert denied(ask(rules, "x.test:443", token._replace(namespace_labels=None))).reason is Reason.NO_RULE


def test_kubernetes_identity_is_more_than_an_address() -> None:
    rules = build(rule("a", "x.test"), identity_required=True)
    workload = Client(address("10.1.1.1"), IdentitySource.KUBERNETES, namespace="pay")
    assert deciding(ask(rules, "x.test:443", workload)) == "a"


# Egress addresses, and the address that a transparent client chose

POOL = tuple(address(f"203.0.113.{number}") for number in range(1, 9))


def order_for(peer: str, pool: tuple[Address, ...]) -> tuple[Address, ...]:
    rules = build(rule("a", "x.test", terms=Terms(source=Source(pool))))
    source = permitted(ask(rules, "x.test:443", client(peer))).source
    assert source is not None
    return source.addresses


def test_each_client_has_its_own_order_of_the_pool_and_keeps_it() -> None:
    peers = [f"10.0.{number}.1" for number in range(200)]
    firsts = [order_for(peer, POOL)[0] for peer in peers]
    assert firsts == [order_for(peer, POOL[::-1])[0] for peer in peers]
    assert set(firsts) == set(POOL)
    assert all(set(order_for(peer, POOL)) == set(POOL) for peer in peers[:10])


def test_only_the_clients_of_an_address_that_is_taken_away_move() -> None:
    for number in range(100):
        before, after = order_for(f"10.0.{number}.1", POOL), order_for(f"10.0.{number}.1", POOL[1:])
        assert after == tuple(each for each in before if each != POOL[0])


def test_the_clients_own_address_is_the_source_where_the_rule_says_so() -> None:
    rules = build(rule("a", "x.test", terms=Terms(source=OF_THE_CLIENT)))
    assert permitted(ask(rules, "x.test:443", client("10.0.0.7"))).source == Source((address("10.0.0.7"),), True)
    assert permitted(ask(rules, "x.test:443", client("10.0.0.8"))).source == Source((address("10.0.0.8"),), True)


def test_a_rule_without_a_source_leaves_it_to_the_routes() -> None:
    assert permitted(ask(build(rule("a", "x.test")), "x.test:443")).source is None


@pytest.mark.parametrize(("resolve", "passes"), [(Resolve.GATEWAY, True), (Resolve.MATCH, False)])
def test_match_opens_no_other_address_than_the_one_the_client_dialled(resolve: Resolve, passes: bool) -> None:
    rules = build(rule("a", "x.test", terms=Terms(resolve=resolve)))
    permit = permitted(ask(rules, transparent("x.test", "93.184.216.34")))
    assert permit.screen(address("93.184.216.34")) is None
    refusal = permit.screen(address("93.184.216.35"))
    assert (refusal is None) is passes
    assert refusal is None or (refusal.reason, refusal.rule) == (Reason.ADDRESS_REFUSED, permit.rule)


def test_match_means_nothing_where_the_client_asked_a_proxy() -> None:
    permit = permitted(ask(build(rule("a", "x.test", terms=Terms(resolve=Resolve.MATCH))), "x.test:443"))
    assert permit.screen(address("93.184.216.35")) is None
