"""Whom a request may name by which door, who is said to ask, and what the connection's record says in the end."""

from dataclasses import replace

import pytest

from gateway.exchange.plan import plan_request
from gateway.exchange.scope import AnyAuthority, AnyHost, Judged, OneAuthority
from gateway.exchange.upstream import Pool
from gateway.model.addresses import Address
from gateway.model.authority import Authority, parse_authority
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.decision import Deny, WouldDeny
from gateway.model.errors import DownstreamError, GatewayError, Refused
from gateway.model.intent import Door, Intent, Protocol
from gateway.model.limits.limit import EXCHANGE, REQUEST
from gateway.model.reasons import Reason
from gateway.model.record import Ended, ExchangeDraft, Side, Transfer
from gateway.model.roles import HeaderFields
from gateway.policy.index import Rules
from gateway.policy.rules import Mode
from gateway.wire.http.messages import NO_CONTENT, Request
from gateway.wire.target import Target
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.unlimited import Unlimited
from tests.policy.builders import (
    NOW,
    SNI_RULE,
    address,
    ask,
    build,
    client,
    connect,
    deny,
    permitted,
    rule,
)
from tests.telemetry.drafts import accepted

RULES = build(
    rule("web", "web.test other.test", cidrs="93.184.216.34", ports=(80, 8080), protocol=Protocol.HTTP),
    deny("no", "denied.test"),
)
SERVED = (address("93.184.216.34"), 80)
CI = Client(address("10.0.0.1"), IdentitySource.BASIC, user="ci")


class KnowsEverybody:
    """Fulfils `Identifies`: whoever shows credentials is `ci`."""

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client:
        return CI if head.values("proxy-authorization") else Client(address)

    def by_address(self, address: Address) -> Client:
        return Client(address)

    def refusal(self, denial: Deny, client: Client, intent: Intent, rules: Rules, now: float) -> GatewayError:
        return DownstreamError(Reason.CREDENTIALS_MISSING) if client.user is None else Refused(denial)


def request(*fields: tuple[str, str]) -> Request:
    return Request("GET", "/x", 1, fields, NO_CONTENT)


def host(text: str) -> Request:
    return request(("Host", text))


def target(authority: str | None = None) -> Target:
    return Target(None if authority is None else named(authority), "/x")


def named(text: str) -> Authority:
    authority = parse_authority(text, 80)
    assert authority is not None
    return authority


def exchange() -> ExchangeDraft:
    return ExchangeDraft(accepted(), 1, 1000.0, NOW)


def pool() -> Pool:
    return Pool(HandDeadlines(), lambda: 0.0)


def any_authority(rules: Rules = RULES, limiter: Unlimited | None = None) -> AnyAuthority:
    return AnyAuthority(lambda: rules, KnowsEverybody, limiter or Unlimited(), pool())


def any_host(rules: Rules = RULES, original: tuple[Address, int] = SERVED) -> AnyHost:
    return AnyHost(lambda: rules, KnowsEverybody, Unlimited(), pool(), original=original)


def one_authority(rules: Rules = RULES, tunnel: str = "web.test:80", limiter: Unlimited | None = None) -> OneAuthority:
    permit = permitted(ask(rules, tunnel))
    rights = permit, client(), connect(tunnel), rules
    return OneAuthority(*rights, pool(), peer=accepted().peer, limiter=limiter or Unlimited())


async def judged(
    scope: AnyAuthority | OneAuthority, asked: Request, at: Target | None = None, draft: ExchangeDraft | None = None
) -> Judged:
    plan = replace(plan_request(asked, "gw"), target=at or target())
    return await scope.judge(plan, draft or exchange(), NOW)


async def refusal(
    scope: AnyAuthority | OneAuthority, asked: Request, at: Target | None = None, draft: ExchangeDraft | None = None
) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        await judged(scope, asked, at, draft)
    return error.value


# On a proxy port


async def test_on_a_proxy_port_the_target_is_judged_and_host_says_nothing() -> None:
    draft = exchange()
    found = await judged(any_authority(), host("denied.test"), target("web.test"), draft)
    assert (found.named, found.permit.authority) == (named("web.test:80"), named("web.test:80"))
    assert draft.intent == Intent(Door.ABSOLUTE_FORM, named("web.test:80"), Protocol.HTTP)
    assert (draft.generation, draft.decision, draft.client) == (RULES.generation, found.permit, found.client)
    refused = await refusal(
        any_authority(), request(("Host", "web.test"), ("Proxy-Authorization", "x")), target("x.test")
    )
    assert refused.reason is Reason.NO_RULE


async def test_on_a_proxy_port_who_names_nobody_is_not_even_identified() -> None:
    draft = exchange()
    error = await refusal(any_authority(), host("web.test"), target(), draft)
    assert (error.reason, draft.client, draft.decision) == (Reason.NOT_A_PROXY_REQUEST, None, None)


async def test_on_a_proxy_port_credentials_say_who_asks_and_a_denied_client_is_told_by_the_identifier() -> None:
    draft = exchange()
    found = await judged(any_authority(), request(("Proxy-Authorization", "x")), target("web.test"), draft)
    assert found.client is CI
    refused = exchange()
    error = await refusal(any_authority(), request(), target("denied.test"), refused)
    assert error.reason is Reason.CREDENTIALS_MISSING
    assert isinstance(refused.decision, Deny)
    assert (refused.decision.reason, refused.generation) == (Reason.DENIED_BY_RULE, RULES.generation)


# Where routes led here


async def test_a_captured_request_is_judged_by_its_host_at_the_port_that_was_dialled() -> None:
    draft = exchange()
    found = await judged(any_host(), request(("Host", "web.test"), ("Proxy-Authorization", "x")), draft=draft)
    assert found.named == named("web.test:80")
    assert draft.intent == Intent(Door.TRANSPARENT, named("web.test:80"), Protocol.HTTP, SERVED[0])
    assert (draft.client, draft.generation) == (Client(address("10.0.0.1")), RULES.generation)
    assert draft.decision is found.permit
    denied = exchange()
    error = await refusal(any_host(), host("denied.test"), draft=denied)
    assert error.reason is Reason.DENIED_BY_RULE
    assert isinstance(denied.decision, Deny)


@pytest.mark.parametrize("text", ["web.test:8080", "93.184.216.35", "[2606::1]", "93.184.216.34:8080"])
async def test_a_captured_request_names_no_other_port_and_no_other_address(text: str) -> None:
    draft = exchange()
    error = await refusal(any_host(), host(text), draft=draft)
    assert (error.reason, draft.decision) == (Reason.HOST_MISMATCH, None)
    assert "93.184.216.34:80" in error.detail
    assert (await refusal(any_host(), request(), target(text))).reason is Reason.HOST_MISMATCH


async def test_a_captured_request_may_name_the_address_that_was_dialled_or_nobody() -> None:
    for asked in (host("93.184.216.34"), host("93.184.216.34:80"), request()):
        found = await judged(any_host(), asked)
        assert (found.named, found.permit.authority) == (named("93.184.216.34:80"), named("93.184.216.34:80"))


async def test_a_captured_request_with_another_target_is_judged_by_that() -> None:
    found = await judged(any_host(), host("denied.test"), target("web.test"))
    assert found.named == named("web.test:80")
    assert (await refusal(any_host(), host("web.test"), target("denied.test"))).reason is Reason.DENIED_BY_RULE


# Inside a tunnel


async def test_inside_a_tunnel_a_request_names_the_tunnels_host_or_nobody() -> None:
    scope = one_authority()
    for asked in (host("web.test"), host("WEB.test."), host("web.test:80"), request()):
        draft = exchange()
        found = await judged(scope, asked, draft=draft)
        assert (found.permit, found.client, found.named) == (scope.permit, scope.client, named("web.test:80"))
        assert (draft.intent, draft.client, draft.decision) == (scope.intent, scope.client, scope.permit)
        assert (draft.generation, draft.would_deny) == (scope.permit.generation, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("other.test", Reason.HOST_MISMATCH),
        ("web.test:8080", Reason.HOST_MISMATCH),
        ("93.184.216.34", Reason.HOST_MISMATCH),
        ("denied.test", Reason.HOST_DENIED),
    ],
)
async def test_inside_a_tunnel_no_other_host_is_named(text: str, reason: Reason) -> None:
    scope = one_authority()
    assert (await refusal(scope, host(text))).reason is reason
    assert (await refusal(scope, host("web.test"), target(text))).reason is reason


async def test_inside_a_tunnel_the_rule_may_let_its_other_hosts_be_named() -> None:
    rules = build(
        rule("web", "web.test other.test", ports=(80,), terms=SNI_RULE, protocol=Protocol.HTTP),
        rule("another", "another.test", ports=(80,)),
    )
    scope = one_authority(rules)
    assert (await judged(scope, host("other.test"))).named == named("other.test:80")
    assert (await refusal(scope, host("another.test"))).reason is Reason.HOST_MISMATCH
    assert (await refusal(scope, host("other.test:81"))).reason is Reason.HOST_MISMATCH


async def test_inside_a_tunnel_what_report_mode_lets_pass_is_noted() -> None:
    rules = build(rule("web", "web.test", ports=(80,), protocol=Protocol.HTTP, mode=Mode.REPORT))
    scope, draft = one_authority(rules), exchange()
    found = await judged(scope, host("other.test"), draft=draft)
    assert found.named == named("other.test:80")
    assert draft.would_deny == WouldDeny(Reason.HOST_MISMATCH, scope.permit.rule)


@pytest.mark.parametrize("text", ["", "user@web.test", "web.test:0", "web.test:80:80", "a b"])
async def test_a_host_that_is_none_is_malformed_behind_every_door(text: str) -> None:
    for scope in (one_authority(), any_host()):
        assert (await refusal(scope, host(text))).reason is Reason.MALFORMED_AUTHORITY


async def test_inside_tls_host_leaves_out_another_port() -> None:
    rules = build(rule("tls", "web.test"))
    permit = permitted(ask(rules, "web.test:443"))
    rights = permit, client(), connect("web.test:443"), rules
    scope = OneAuthority(*rights, pool(), 443, peer=accepted().peer, limiter=Unlimited())
    assert (await judged(scope, host("web.test"))).named == named("web.test:443")
    assert (await refusal(scope, host("web.test:80"))).reason is Reason.HOST_MISMATCH


# What is counted


def test_each_door_counts_what_is_about_to_happen() -> None:
    assert any_authority().counted == EXCHANGE
    assert one_authority().counted == REQUEST


# What the connection's record says


def ended(connection_bytes: tuple[int, int], began_at: float | None) -> ExchangeDraft:
    """An exchange that was reset, on a connection that has moved so much before."""
    draft = exchange()
    before = draft.connection.transfer
    before.bytes_up, before.bytes_down = connection_bytes
    before.first_byte_at = began_at
    draft.generation, draft.client, draft.intent = 9, CI, connect("web.test:80")
    draft.decision, draft.would_deny = permitted(ask(RULES, "web.test:80")), WouldDeny(Reason.HOST_MISMATCH)
    draft.would_limit = "policy.yaml#web.requests"
    draft.status, draft.reason, draft.detail = 502, Reason.UPSTREAM_RESET, "because"
    draft.transfer = Transfer(5, 7, 1003.0, Ended.RESET, Side.UPSTREAM, Reason.UPSTREAM_RESET)
    return draft


@pytest.mark.parametrize(("began_at", "told"), [(None, 1003.0), (1001.0, 1001.0)])
def test_a_connection_adds_up_its_exchanges_and_ends_as_the_last_one(began_at: float | None, told: float) -> None:
    for scope in (any_authority(), one_authority()):
        draft = ended((100, 200), began_at)
        scope.sum_up(draft)
        transfer = draft.connection.transfer
        assert (transfer.bytes_up, transfer.bytes_down, transfer.first_byte_at) == (105, 207, told)
        assert (transfer.ended, transfer.ended_by, transfer.reason) == (
            Ended.RESET,
            Side.UPSTREAM,
            Reason.UPSTREAM_RESET,
        )


def test_on_a_proxy_port_a_connection_says_of_itself_what_holds_of_its_last_exchange() -> None:
    draft = ended((0, 0), None)
    any_authority().sum_up(draft)
    told = draft.connection
    assert (told.generation, told.client, told.intent) == (9, CI, connect("web.test:80"))
    assert (told.decision, told.would_deny) == (draft.decision, WouldDeny(Reason.HOST_MISMATCH))
    assert told.would_limit == "policy.yaml#web.requests"
    assert (told.status, told.reason, told.detail) == (502, Reason.UPSTREAM_RESET, "because")


def test_a_tunnels_record_speaks_of_the_tunnel() -> None:
    draft = ended((0, 0), None)
    one_authority().sum_up(draft)
    told = draft.connection
    assert (told.client, told.intent, told.decision, told.status, told.reason) == (None, None, None, None, None)
    assert told.would_limit is None


def test_only_inside_a_tunnel_are_destinations_reached_in_a_way_of_its_own() -> None:
    for scope in (any_authority(), any_host(), one_authority()):
        assert (scope.dialer, scope.is_secure, scope.usual_port, scope.meter) == (None, False, 80, None)
