"""Which buckets a lease draws from."""

from gateway.limits.draws import draws_for, identity_of
from gateway.model.decision import Terms
from gateway.model.limits.limit import CONNECTION, EXCHANGE, REQUEST, TUNNEL, Counted, KeyPart, Limit
from gateway.policy.rules import Group, Match
from tests.limits.permits import client_at, permit_under

RATE = Limit("r.connections", Counted.CONNECTIONS, 1.0)
REQUESTS = Limit("r.requests", Counted.REQUESTS, 1.0)
HELD = Limit("r.concurrent", Counted.CONCURRENT, 1.0)
DAY = Limit("r.bytes", Counted.BYTES, 1.0, period=86400.0)
SLOW = Limit("r.bandwidth", Counted.BANDWIDTH, 1.0)
USERS = tuple(Group(name, (Match(user="ci"),)) for name in ("a", "b", "c"))


def names(counted: frozenset[Counted], *limits: Limit) -> list[str]:
    permit = permit_under(Terms(limits=limits))
    return [draw.limit.name.rpartition(".")[2] for draw in draws_for(permit, client_at(), counted)]


def test_each_occasion_is_counted_by_the_limits_that_speak_of_it() -> None:
    every = (RATE, REQUESTS, HELD, DAY, SLOW)
    assert names(TUNNEL, *every) == ["connections", "concurrent", "bytes"]
    assert names(EXCHANGE, *every) == ["requests", "concurrent", "bytes"]
    assert names(REQUEST, *every) == ["requests"]
    assert names(CONNECTION, *every) == ["connections"]


def test_of_a_budget_nothing_is_taken_before_anything_moved() -> None:
    permit = permit_under(Terms(limits=(DAY, RATE)))
    assert [draw.amount for draw in draws_for(permit, client_at(), TUNNEL)] == [0.0, 1.0]


def test_keys_tell_apart_client_and_host() -> None:
    permit = permit_under(Terms(limits=(RATE._replace(key=(KeyPart.CLIENT, KeyPart.HOST)),)))
    keys = [draws_for(permit, client_at(text), TUNNEL)[0].key for text in ("10.0.0.1", "10.0.0.2")]
    assert keys == [("10.0.0.1", "api.example.com"), ("10.0.0.2", "api.example.com")]


def test_a_client_is_known_by_its_name_before_its_address() -> None:
    client = client_at(user="ci")
    assert identity_of(client) == "user ci"
    assert identity_of(client._replace(spiffe="spiffe://x/y")) == "spiffe://x/y"
    assert identity_of(client_at()._replace(namespace="n", service_account="s")) == "n/s"
    assert identity_of(client_at()._replace(namespace="n")) == "10.0.0.1"


def test_each_group_of_the_client_that_the_rule_names_has_its_own_bucket() -> None:
    by_group = Terms(limits=(RATE._replace(key=(KeyPart.GROUP,)),))
    client = client_at(user="ci")
    named = permit_under(by_group, client, USERS, clients=("a", "c"))
    assert [draw.key for draw in draws_for(named, client, TUNNEL)] == [("a",), ("c",)]
    everyone = permit_under(by_group, client, USERS)
    assert [draw.key for draw in draws_for(everyone, client, TUNNEL)] == [("a",), ("b",), ("c",)]
    assert draws_for(permit_under(by_group), client_at(), TUNNEL) == []


def test_limits_of_groups_hold_beside_the_rules_and_a_shared_quota_is_spent_once() -> None:
    quota = Limit("quota q", Counted.CONNECTIONS, 1.0)
    groups = (
        Group("a", (Match(user="ci"),), limits=(HELD._replace(name="group a.concurrent"), quota)),
        Group("b", (Match(user="ci"),), limits=(quota,)),
    )
    client = client_at(user="ci")
    permit = permit_under(Terms(limits=(quota, RATE)), client, groups)
    found = [draw.limit.name for draw in draws_for(permit, client, TUNNEL)]
    assert found == ["quota q", "r.connections", "group a.concurrent"]


def test_a_quota_by_group_that_rule_and_group_use_is_one_draw_of_each_bucket() -> None:
    quota = Limit("quota q", Counted.CONCURRENT, 2.0, key=(KeyPart.GROUP,))
    groups = (Group("a", (Match(user="ci"),), limits=(quota,)), Group("b", (Match(user="ci"),)))
    client = client_at(user="ci")
    permit = permit_under(Terms(limits=(quota,)), client, groups)
    assert [draw.key for draw in draws_for(permit, client, TUNNEL)] == [("a",), ("b",)]


def test_a_limit_of_a_group_tells_that_group_apart_only_where_its_key_says_so() -> None:
    by_group = Limit("quota q", Counted.CONCURRENT, 2.0, key=(KeyPart.GROUP,))
    groups = (Group("a", (Match(user="ci"),), limits=(by_group, RATE)), Group("b", (Match(user="ci"),)))
    client = client_at(user="ci")
    permit = permit_under(Terms(), client, groups)
    assert [(draw.limit, draw.key) for draw in draws_for(permit, client, TUNNEL)] == [(by_group, ("a",)), (RATE, ())]


def test_a_destinations_own_gate_is_drawn_from_where_the_rule_honours_it() -> None:
    permit = permit_under(Terms(honour_retry_after=True))
    (draw,) = draws_for(permit, client_at(), TUNNEL)
    assert (draw.limit.name, draw.key) == ("p#r.retry_after", ("api.example.com",))
