"""What is learnt: exact names first, wildcards on broad evidence only, and never more than what was seen asks for."""

import pytest

from gateway.insight.judging import Judge, enforced
from gateway.insight.learn import (
    Proposal,
    Workload,
    group_names,
    holds_suffix,
    learn,
    registrable_domain,
    rule_names,
    within_reach,
)
from gateway.insight.patch import patched
from gateway.model.intent import Protocol
from gateway.policy.index import build_rules
from gateway.telemetry.formats.fields import Recorded
from tests.insight.records import NOW, attempts, policy_of, rules_of, seen

EMPTY = "version: 1\n"


def learnt(
    *records: Recorded, policy: str = EMPTY, group_by: str | None = None, wildcard_from: int = 5
) -> list[Proposal]:
    return learn(attempts(*records), rules_of(policy), NOW, group_by, wildcard_from).proposals


def twice(*hosts: str) -> list[Recorded]:
    return [seen(host) for host in hosts for _ in range(2)]


def test_names_are_taken_exactly_and_share_a_rule_by_registered_domain() -> None:
    found = learnt(*twice("api.shop.example", "cdn.shop.example", "other.example"))
    assert [(each.domain, each.hosts, each.port, each.protocol) for each in found] == [
        ("other.example", ["other.example"], 443, None),
        ("shop.example", ["api.shop.example", "cdn.shop.example"], 443, None),
    ]


def test_a_wildcard_stands_for_enough_names_that_were_seen_more_than_once() -> None:
    names = [f"n{number}.eu.shop.example" for number in range(5)]
    (found,) = learnt(*twice(*names), seen("once.eu.shop.example"), *twice("shop.example"))
    assert found.hosts == ["*.eu.shop.example", "once.eu.shop.example", "shop.example"]
    assert found.remarks["*.eu.shop.example"] == ["5 names, 10 times"]
    assert found.remarks["once.eu.shop.example"] == ["seen once, by 10.0.0.1"]
    (fewer,) = learnt(*twice(*names[:4]))
    assert fewer.hosts == names[:4]


def test_a_wildcard_hides_no_doubt_about_its_names() -> None:
    names = [f"n{number}.eu.shop.example" for number in range(5)]
    odd = seen(names[0], dialled_address="10.1.2.3")
    (found,) = learnt(*twice(*names), odd)
    assert found.remarks["*.eu.shop.example"] == ["5 names, 11 times", "a private target: 10.1.2.3"]


def test_it_is_marked_where_one_client_spoke_otherwise_than_the_others() -> None:
    """The rule has to be as wide as the widest: with `tcp` nobody's first bytes are looked at."""
    (found,) = learnt(*twice("x.example"), seen("x.example", protocol="tcp", sni=None))
    assert (found.protocol, found.remarks["x.example"]) == (Protocol.TCP, ["spoken: tcp, tls"])


def test_only_what_a_proposal_speaks_of_need_be_judged_again() -> None:
    names = [f"n{number}.eu.shop.example" for number in range(5)]
    lesson = learn(attempts(*twice(*names, "other.example", "192.0.2.7")), rules_of("rules: []"), NOW)
    beside = ["N9.EU.shop.example", "eu.shop.example", "x.other.example", "Other.example.", "192.0.2.7", "192.0.2.70"]
    reached = within_reach(attempts(*(seen(host) for host in beside)), lesson)
    assert {attempt.host for attempt in reached} == {"N9.EU.shop.example", "Other.example.", "192.0.2.7"}


def test_many_one_off_names_make_no_wildcard() -> None:
    (found,) = learnt(*(seen(f"{number:x}.exfil.example") for number in range(200)))
    assert len(found.hosts) == 200
    assert not any(host.startswith("*") for host in found.hosts)


def test_no_wildcard_stands_over_a_public_suffix_or_above_one() -> None:
    users = learnt(*twice(*(f"user{number}.github.io" for number in range(9))))
    assert [each.domain for each in users] == [f"user{number}.github.io" for number in range(9)]
    (cloud,) = learnt(*twice(*(f"ec2.r{number}.amazonaws.com" for number in range(9))))
    assert not any(host.startswith("*") for host in cloud.hosts)
    assert holds_suffix("amazonaws.com")
    assert holds_suffix("co.uk")
    assert not holds_suffix("shop.example")
    assert registrable_domain("a.b.example.co.uk") == "example.co.uk"


def test_raw_addresses_private_targets_and_foreign_tls_names_are_marked() -> None:
    found = learnt(
        *(seen("93.184.216.34", sni=None) for _ in range(2)),
        *(seen("wiki.example", dialled_address="10.1.2.3") for _ in range(2)),
        *(seen("front.example", sni="hidden.example") for _ in range(2)),
        *(seen("bare.example", sni=None) for _ in range(2)),
    )
    remarks = {entry: remark for each in found for entry, remark in each.remarks.items()}
    assert remarks == {
        "93.184.216.34/32": ["a raw address: who is it?"],
        "wiki.example": ["a private target: 10.1.2.3"],
        "front.example": ["TLS named hidden.example"],
        "bare.example": ["TLS named none"],
    }
    assert [each.domain for each in found if each.loose_sni] == ["bare.example", "front.example"]


@pytest.mark.parametrize(
    ("port", "spoken", "protocol"),
    [
        (443, ["tls"], None),
        (80, ["http"], None),
        (443, ["http"], Protocol.HTTP),
        (443, ["tls", "http"], Protocol.AUTO),
        (8443, ["tls"], Protocol.TLS),
        (8443, ["tls", "http"], None),
        (5432, ["tcp"], Protocol.TCP),
        (9000, [None], None),
    ],
)
def test_a_rule_says_what_was_spoken_where_its_port_does_not(
    port: int, spoken: list[str | None], protocol: Protocol | None
) -> None:
    records = [seen("x.example", port, protocol=each, sni="x.example" if each == "tls" else None) for each in spoken]
    (found,) = learnt(*records)
    assert found.protocol is protocol


def test_one_name_in_two_spellings_is_one_destination() -> None:
    (found,) = learnt(seen("API.Shop.example."), seen("api.shop.example"))
    assert (found.hosts, found.loose_sni) == (["api.shop.example"], False)


def test_a_log_of_strangers_names_no_pattern() -> None:
    lesson = learn(attempts(seen("*", sni=None), seen("a b", sni=None)), rules_of(EMPTY), NOW)
    assert (lesson.proposals, sorted(lesson.left_out)) == ([], ["*:443", "a b:443"])


def test_nothing_is_learnt_from_what_was_refused_unreached_denied_or_allowed_already() -> None:
    policy = EMPTY + "rules:\n  - {name: a, hosts: [a.example]}\n  - {name: no, hosts: [.no.example], action: deny}\n"
    records = (
        seen("a.example"),
        seen("refused.example", decision="deny", reason="no_rule"),
        seen("nowhere.example", dialled_address=None),
        seen("x.no.example"),
        seen("summed.example", requests=3),
        seen("early.example", decision="none"),
    )
    lesson = learn(attempts(*records), rules_of(policy), NOW)
    assert (lesson.proposals, lesson.allowed_already) == ([], 1)
    assert lesson.left_out == {
        "refused.example:443": "was refused",
        "nowhere.example:443": "was never reached",
        "x.no.example:443": "is refused (denied_by_rule) by policy.yaml#no: no further rule changes that",
    }


def test_a_destination_for_which_there_is_a_rule_is_not_left_out_for_those_that_did_not_reach_it() -> None:
    records = (
        seen("a.example", dialled_address=None),
        seen("a.example", decision="deny", reason="no_rule"),
        seen("a.example"),
        seen("a.example", dialled_address=None, port=444),
    )
    lesson = learn(attempts(*records), rules_of(EMPTY), NOW)
    assert [proposal.hosts for proposal in lesson.proposals] == [["a.example"]]
    assert lesson.left_out == {"a.example:444": "was never reached"}


def test_an_address_that_was_refused_says_what_would_open_it() -> None:
    refused = seen("wiki.example", decision="deny", reason="address_refused", dialled_address=None)
    lesson = learn(attempts(refused | {"refused": ["10.1.2.3 private use"]}), rules_of(EMPTY), NOW)
    assert lesson.left_out == {
        "wiki.example:443": "was refused for its address 10.1.2.3: `private` in a rule opens that"
    }


def test_what_was_reached_was_not_refused_for_its_address() -> None:
    refused = seen("wiki.example", decision="deny", reason="sni_mismatch", sni="x.example", dialled_address="10.1.2.3")
    assert learn(attempts(refused), rules_of(EMPTY), NOW).left_out == {"wiki.example:443": "was refused"}


def test_what_was_refused_before_the_policy_had_its_rule_lacks_none() -> None:
    refused = {**seen("b.example", decision="deny", dialled_address=None), "reason": "no_rule"}
    lesson = learn(attempts(refused), rules_of("rules: [{name: b, hosts: [b.example]}]"), NOW)
    assert (lesson.left_out, lesson.allowed_already) == ({}, 1)


def test_grouped_by_group_a_rule_speaks_of_the_policys_own_and_of_the_narrowest() -> None:
    policy = (
        EMPTY + "clients:\n  all: {match: [{cidr: 10.0.0.0/8}]}\n  payments: {match: [{cidr: 10.20.0.0/16}]}\n"
        "  web: {match: [{user: web}]}\n"
    )
    records = (
        seen("a.example", client_address="10.20.0.7"),
        seen("a.example", client_address="10.20.0.8"),
        seen("b.example", client_address="10.30.0.7"),
        seen("b.example", client_address="192.0.2.7", user="web"),
        seen("c.example", client_address="192.0.2.8"),
    )
    found = learnt(*records, policy=policy, group_by="group")
    assert [(each.domain, each.workloads) for each in found] == [
        ("a.example", (Workload("group", "payments"),)),
        ("b.example", (Workload("group", "all"), Workload("group", "web"))),
        ("c.example", (Workload("cidr", "192.0.2.8/32"),)),
    ]


def test_grouped_by_user_a_rule_speaks_of_those_that_were_seen_only() -> None:
    found = learnt(
        seen("a.example", user="ci"),
        seen("a.example", user="web"),
        seen("b.example", user="ci"),
        seen("c.example"),
        group_by="user",
    )
    assert [(each.domain, each.workloads) for each in found] == [
        ("a.example", (Workload("user", "ci"), Workload("user", "web"))),
        ("b.example", (Workload("user", "ci"),)),
        ("c.example", (Workload("cidr", "10.0.0.1/32"),)),
    ]
    names = group_names(found, {Workload("user", "ci"): "builders"}, ["user-web"])
    assert names == {
        Workload("user", "ci"): "builders",
        Workload("user", "web"): "user-web-2",
        Workload("cidr", "10.0.0.1/32"): "cidr-10.0.0.1-32",
    }


def test_what_was_learnt_lets_pass_all_that_it_was_learnt_from() -> None:
    records = (
        *twice(*(f"n{number}.shop.example" for number in range(6))),
        seen("db.example", 5432, protocol="tcp", sni=None),
        seen("web.example", 80, door="absolute_form", protocol=None, sni=None),
        seen("front.example", sni="hidden.example"),
        seen("93.184.216.34", sni=None),
        seen("x.example", user="ci"),
    )
    found = learn(attempts(*records), rules_of(EMPTY), NOW, "user").proposals
    groups = group_names(found, {}, [])
    text = patched(EMPTY, found, rule_names(found, []), groups, set(groups.values()))
    rules = build_rules(enforced(policy_of(text)), generation=1)
    judge = Judge(rules, NOW)
    assert {judge.judge(*item).allowed for item in attempts(*records).items()} == {True}
    stranger = attempts(seen("x.example", client_address="10.9.9.9"), seen("y.example", user="ci"))
    assert {judge.judge(*item).allowed for item in stranger.items()} == {False}


@pytest.mark.parametrize(
    "user",
    ["x" * 300, "spiffe://td.test/ns/a/sa/" + "b" * 200, "trailing ", "tab\there", "sharp#name", "line\nbreak", " "],
)
def test_groups_of_workloads_with_odd_names_have_names_that_load(user: str) -> None:
    found = learnt(*twice("a.example"), seen("a.example", user=user), group_by="user")
    groups = group_names(found, {}, [])
    policy_of(patched(EMPTY, found, rule_names(found, []), groups, set(groups.values())))
    alike = [Workload("user", f"{user}{end}" * 3) for end in "ab"]
    two = group_names([Proposal("a.example", 443, None, False, tuple(alike))], {}, [])
    assert len(set(two.values())) == 2


def test_a_protocol_that_is_not_known_here_is_none() -> None:
    (found,) = learnt(seen("a.example", protocol="smtp"), seen("a.example", protocol="tls"))
    assert (found.hosts, found.protocol) == (["a.example"], None)
