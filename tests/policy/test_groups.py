"""Which groups a client belongs to, and which mode holds for it."""

import pytest

from gateway.model.client import Client
from gateway.policy import groups as groups_module
from gateway.policy.groups import GroupIndex
from gateway.policy.rules import Group, Match, Mode
from tests.policy.builders import address, client, group, network


def names(groups: list[Group], who: Client, default: Mode = Mode.ENFORCE) -> list[str]:
    return list(GroupIndex(groups, default).membership_of(who).listed)


def test_any_entry_of_a_group_makes_a_member() -> None:
    groups = [group("ci", Match(cidr=network("10.1.0.0/16")), Match(user="ci"))]
    assert names(groups, client("10.1.2.3")) == ["ci"]
    assert names(groups, client("192.0.2.1", user="ci")) == ["ci"]
    assert names(groups, client("192.0.2.1", user="other")) == []


def test_every_key_of_an_entry_must_match() -> None:
    groups = [group("ci", Match(cidr=network("10.1.0.0/16"), user="ci"))]
    assert names(groups, client("10.1.2.3", user="ci")) == ["ci"]
    assert names(groups, client("10.1.2.3")) == []
    assert names(groups, client("10.2.2.3", user="ci")) == []


def test_an_address_is_in_the_groups_of_all_networks_around_it() -> None:
    groups = [group("wide", cidr="10.0.0.0/8"), group("mid", cidr="10.1.0.0/16"), group("one", cidr="10.1.2.3/32")]
    assert names(groups, client("10.1.2.3")) == ["mid", "one", "wide"]
    assert names(groups, client("10.1.2.4")) == ["mid", "wide"]
    assert names(groups, client("10.2.0.0")) == ["wide"]
    assert names(groups, client("10.0.0.0")) == ["wide"]  # the base of the widest is in no narrower one
    assert names(groups, client("11.0.0.0")) == []


def test_a_narrower_network_that_begins_where_a_wider_one_does_makes_nobody_else_a_member() -> None:
    groups = [group("wide", cidr="10.0.0.0/8"), group("first", cidr="10.0.0.0/24")]
    assert names(groups, client("10.0.0.1")) == ["first", "wide"]
    assert names(groups, client("10.0.1.1")) == ["wide"]


def test_however_clients_combine_groups_only_so_many_combinations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "REMEMBERED", 3)
    named = [group(name, user=name) for name in "abcdef"]
    index = GroupIndex([*named, group("net", cidr="10.0.0.0/8")], Mode.ENFORCE)
    for name in "abcdefabc":
        assert index.membership_of(client(user=name)).listed == (name,)
        assert index.membership_of(client("10.0.0.1", user=name)).listed == (name, "net")
        assert len(index._together) <= 3
    kept = index.membership_of(client(user="a"))
    assert index.membership_of(client(user="a")) is kept


def test_groups_over_the_same_network_are_all_joined() -> None:
    assert names([group("b", cidr="10.0.0.0/8"), group("a", cidr="10.0.0.0/8")], client("10.1.1.1")) == ["a", "b"]


def test_facts_of_identity_and_address_are_taken_together() -> None:
    groups = [group("net", cidr="10.0.0.0/8"), group("user", user="ci")]
    assert names(groups, client("10.1.1.1", user="ci")) == ["net", "user"]


def test_a_workload_is_known_by_namespace_service_account_and_labels() -> None:
    groups = [
        group("namespace", Match(namespace="pay")),
        group("account", Match(namespace="pay", service_account="api")),
        group("labels", Match(namespace="pay", labels=(("app", "web"), ("tier", "front")))),
        group("elsewhere", Match(namespace="other", service_account="api")),
    ]
    web = {"app": "web", "tier": "front", "more": "x"}
    assert names(groups, client(namespace="pay")) == ["namespace"]
    assert names(groups, client(namespace="pay", service_account="api")) == ["account", "namespace"]
    assert names(groups, client(namespace="pay", service_account="job", labels=web)) == ["labels", "namespace"]
    assert names(groups, client(namespace="pay", labels={"app": "web"})) == ["namespace"]
    assert names(groups, client(namespace="pay", labels=web | {"tier": "back"})) == ["namespace"]


def test_an_entry_that_asks_for_a_service_account_alone_matches_nobody() -> None:
    groups = [group("loose", Match(service_account="api")), group("labels", Match(labels=(("app", "web"),)))]
    assert names(groups, client(namespace="pay", service_account="api", labels={"app": "web"})) == []


@pytest.mark.parametrize(
    ("pattern", "spiffe", "member"),
    [
        ("spiffe://c/ns/pay/sa/api", "spiffe://c/ns/pay/sa/api", True),
        ("spiffe://c/ns/pay/sa/api", "spiffe://c/ns/pay/sa/api2", False),
        ("spiffe://c/ns/pay/sa/*", "spiffe://c/ns/pay/sa/api", True),
        ("spiffe://c/ns/pay/*", "spiffe://c/ns/pay/sa/api", True),
        ("spiffe://c/ns/pay/sa/*", "spiffe://c/ns/pay/sa", False),
        ("spiffe://c/ns/pay/sa/*", "spiffe://c/ns/pay/sa/", False),
        ("spiffe://c/ns/pay/sa/*", "spiffe://c/ns/pay/sa//api", False),
        ("spiffe://c/ns/pay/sa/*", "spiffe://c/ns/pay/sax/api", False),
        ("spiffe://c/*", "spiffe://c.evil/ns", False),
        ("spiffe://c/ns/*", "spiffe://d/ns/pay", False),
    ],
)
def test_a_spiffe_pattern_covers_whole_further_segments(pattern: str, spiffe: str, member: bool) -> None:
    assert names([group("mesh", Match(spiffe=pattern))], client(spiffe=spiffe)) == (["mesh"] if member else [])


def test_a_spiffe_key_beside_another_key_must_match_as_well() -> None:
    groups = [group("both", Match(user="ci", spiffe="spiffe://c/ci"))]
    assert names(groups, client(user="ci")) == []
    assert names(groups, client(user="ci", spiffe="spiffe://c/ci")) == ["both"]


REPORT, ENFORCE = Mode.REPORT, Mode.ENFORCE


@pytest.mark.parametrize(
    ("stated", "default", "mode"),
    [
        ([], ENFORCE, ENFORCE),
        ([], REPORT, REPORT),
        ([None, None], REPORT, REPORT),
        ([REPORT], ENFORCE, REPORT),
        ([REPORT, None], ENFORCE, REPORT),
        ([REPORT, REPORT], ENFORCE, REPORT),
        ([REPORT, ENFORCE], REPORT, ENFORCE),
        ([ENFORCE], REPORT, ENFORCE),
    ],
)
def test_a_client_is_in_report_mode_only_if_every_group_that_states_a_mode_says_so(
    stated: list[Mode | None], default: Mode, mode: Mode
) -> None:
    groups = [group(f"g{index}", cidr="10.0.0.0/8", mode=one) for index, one in enumerate(stated)]
    assert GroupIndex(groups, default).membership_of(client("10.1.1.1")).mode is mode


def test_labels_of_the_namespace_make_members_of_whoever_is_in_it() -> None:
    both = (("env", "prod"), ("team", "a"))
    index = GroupIndex(
        [
            group("team", Match(namespace_labels=(("team", "a"),))),
            group("both", Match(namespace_labels=both)),
            group("here", Match(namespace_labels=(("team", "a"),), cidr=network("10.1.0.0/16"))),
            group("account", Match(namespace="pay", service_account="api", namespace_labels=both)),
            group("user", Match(user="ci", namespace_labels=(("team", "a"),))),
        ],
        ENFORCE,
    )

    def groups(labels: dict[str, str] | None, **facts: str) -> tuple[str, ...]:
        who = client("10.1.1.1", namespace="pay", **facts)  # type: ignore[arg-type]  # texts, all of them
        return index.membership_of(who._replace(namespace_labels=labels)).listed

    assert groups({"team": "a"}) == ("here", "team")
    assert groups({"team": "a", "env": "prod"}, service_account="api") == ("account", "both", "here", "team")
    assert groups({"team": "a"}, user="ci") == ("here", "team", "user")
    assert groups({"team": "b"}) == groups({}) == groups(None) == ()
    assert index.looks_at_labels
    assert index.is_proved_by_token(address("10.2.0.1"), "team")


def test_who_is_not_known_is_in_no_group_and_in_report_mode_only_if_no_group_anywhere_enforces() -> None:
    nets = [group("net", cidr="10.0.0.0/8", mode=REPORT)]
    unknown = client("10.1.1.1", known=False)
    membership = GroupIndex(nets, ENFORCE).membership_of(unknown)
    assert (membership.listed, membership.known, membership.mode) == ((), False, ENFORCE)
    assert GroupIndex(nets, REPORT).membership_of(unknown).mode is REPORT
    strict = [*nets, group("strict", user="x", mode=ENFORCE)]
    assert GroupIndex(strict, REPORT).membership_of(unknown).mode is ENFORCE


def test_who_may_be_in_a_group_that_enforces_is_not_in_report_mode() -> None:
    pods = [group("pods", Match(namespace="shop"), mode=ENFORCE), group("ci", user="ci", mode=REPORT)]
    index = GroupIndex(pods, REPORT)
    assert index.membership_of(client("10.1.1.1", user="ci")).mode is REPORT
    doubted = index.membership_of(client("10.1.1.1", user="ci", doubt="stale"))
    assert (doubted.listed, doubted.doubted, doubted.mode) == (("ci",), frozenset({"pods"}), ENFORCE)


def test_labels_of_a_namespace_that_are_known_leave_no_doubt() -> None:
    index = GroupIndex([group("team", Match(namespace_labels=(("team", "a"),)))], ENFORCE)
    token = client("10.1.1.1", namespace="shop", service_account="api", doubt="elsewhere")
    assert index.membership_of(token).doubted == frozenset({"team"})
    assert index.membership_of(token._replace(namespace_labels={"team": "b"})).doubted == frozenset()


def test_credentials_prove_users_and_service_accounts_but_no_labels_and_no_certificate() -> None:
    index = GroupIndex(
        [
            group("user", user="ci"),
            group("account", Match(namespace="pay", service_account="api")),
            group("near", Match(cidr=network("10.0.0.0/8"), user="ci")),
            group("labels", Match(namespace="pay", labels=(("app", "web"),))),
            group("mesh", Match(spiffe="spiffe://c/x")),
            group("net", cidr="192.0.2.0/24"),
        ],
        Mode.ENFORCE,
    )
    here, near = address("192.0.2.1"), address("10.1.1.1")
    names = ("user", "account", "near", "labels", "mesh", "net")
    assert [name for name in names if index.is_proved_by_user(here, name)] == ["user"]
    assert [name for name in names if index.is_proved_by_user(near, name)] == ["user", "near"]
    assert [name for name in names if index.is_proved_by_token(near, name)] == ["account"]
