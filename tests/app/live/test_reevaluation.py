"""After a reload open tunnels are judged again by their facts; older rules are taken down when nobody needs them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from gateway.app.live.reevaluation import IDLE_SECONDS, SLICE, Reevaluation, still_permits
from gateway.model.client import Client
from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft
from gateway.policy.index import Rules
from gateway.policy.rules import Policy, Rule
from gateway.settings.gateway import DrainSettings, GatewaySettings
from tests.policy.builders import build, deny, rule
from tests.telemetry.drafts import HELLO, StillClock, address, asked


class CutTunnel:
    """Fulfils `record.Tunnel`: remembers why it was cut, and is over then."""

    def __init__(self, draft: Draft, asks_rules: bool = False) -> None:
        self._draft = draft
        self.asks_rules = asks_rules
        self.cut_for: Reason | None = None

    def cut(self, reason: Reason) -> None:
        self.cut_for = reason
        self._draft.tunnel = None


def generation(number: int, *rules: Rule) -> Rules:
    made = build(*rules)
    return Rules(**{**{name: getattr(made, name) for name in Rules.__dataclass_fields__}, "generation": number})


@dataclass
class InForce:
    """What holds, as a test sets it."""

    rules: Rules
    mode: str = "close"
    settings: GatewaySettings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = GatewaySettings.model_validate({"on_reload": self.mode}).model_copy(
            update={"drain": DrainSettings.model_validate({"timeout": "30s"})}
        )


def open_tunnel(authority: str = "api.stripe.com:443", number: int = 0) -> tuple[Draft, CutTunnel]:
    draft = asked(f"c-{number}", authority)
    draft.generation = 1
    draft.client = Client(draft.peer[0])
    draft.dialled = Dialled(address("93.184.216.34"), (), (), None, 0.0)
    tunnel = CutTunnel(draft)
    draft.tunnel = tunnel
    return draft, tunnel


STRIPE, OTHER = rule("stripe", "api.stripe.com"), rule("other", "x.test")


class Bed:
    """Some tunnels, and the rules that have just taken over."""

    def __init__(self, in_force: InForce, drafts: Sequence[Draft]) -> None:
        self.drafts = list(drafts)
        self.clock = StillClock()
        self.in_force = in_force
        self.reevaluation = Reevaluation(lambda: self.drafts, in_force, self.clock)

    async def look_after(self, seconds: float = 0.0) -> None:
        self.clock.now += seconds
        await self.reevaluation.look()


async def test_close_ends_what_the_new_rules_forbid_at_once_and_nothing_else() -> None:
    (draft, tunnel), (other, allowed) = open_tunnel(), open_tunnel("x.test:443")
    bed = Bed(InForce(generation(2, OTHER)), [draft, other])
    await bed.look_after()
    assert (tunnel.cut_for, allowed.cut_for) == (Reason.POLICY_CHANGED, None)


async def test_keep_leaves_everything_and_a_later_close_judges_it() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(2, OTHER), "keep"), [draft])
    await bed.look_after()
    assert tunnel.cut_for is None
    bed.in_force = bed.reevaluation._in_force = InForce(generation(3, OTHER), "close")
    await bed.look_after()
    assert tunnel.cut_for is Reason.POLICY_CHANGED


async def test_drain_waits_until_a_tunnel_has_been_idle() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(2, OTHER), "drain"), [draft])
    await bed.look_after()
    for _ in range(4):
        draft.transfer.bytes_down += 1
        await bed.look_after(IDLE_SECONDS - 1)
    assert tunnel.cut_for is None
    await bed.look_after(IDLE_SECONDS)
    assert tunnel.cut_for is Reason.POLICY_CHANGED


async def test_drain_ends_a_busy_tunnel_when_its_time_is_over() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(2, OTHER), "drain"), [draft])
    await bed.look_after()
    for _ in range(29):
        draft.transfer.bytes_up += 1
        await bed.look_after(1)
    assert tunnel.cut_for is None
    await bed.look_after(1)
    assert tunnel.cut_for is Reason.POLICY_CHANGED


async def test_a_draining_tunnel_that_newer_rules_allow_again_goes_on() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(2, OTHER), "drain"), [draft])
    await bed.look_after()
    bed.reevaluation._in_force = InForce(generation(3, STRIPE), "drain")
    await bed.look_after()
    await bed.look_after(60)
    assert tunnel.cut_for is None


async def test_a_tunnel_under_a_rule_that_has_expired_ends_with_the_next_reload() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(1, STRIPE)), [draft])
    brief = rule("stripe", "api.stripe.com", expires=bed.clock.time() + 10)
    bed.in_force.rules = generation(2, brief)
    await bed.look_after()
    await bed.look_after(60)
    assert tunnel.cut_for is None
    bed.in_force.rules = generation(3, brief)
    await bed.look_after()
    assert tunnel.cut_for is Reason.POLICY_CHANGED


async def test_a_draining_tunnel_goes_on_once_tunnels_are_to_be_kept() -> None:
    draft, tunnel = open_tunnel()
    bed = Bed(InForce(generation(2, OTHER), "drain"), [draft])
    await bed.look_after()
    bed.reevaluation._in_force = InForce(generation(3, OTHER), "keep")
    await bed.look_after()
    await bed.look_after(60)
    assert tunnel.cut_for is None


async def test_drain_waits_for_the_answer_to_a_request_that_is_under_way() -> None:
    draft, tunnel = open_tunnel()
    draft.requests, draft.answered = 2, 1
    bed = Bed(InForce(generation(2, OTHER), "drain"), [draft])
    await bed.look_after()
    await bed.look_after(2 * IDLE_SECONDS)
    assert tunnel.cut_for is None
    draft.answered = 2
    await bed.look_after(IDLE_SECONDS)
    assert tunnel.cut_for is Reason.POLICY_CHANGED


@pytest.mark.parametrize(
    ("rules", "permitted"),
    [
        ((STRIPE,), True),
        ((OTHER,), False),
        ((STRIPE, deny("net", cidrs="93.184.216.0/24")), False),
        ((rule("tcp", "api.stripe.com", protocol=Protocol.TCP),), True),
        ((rule("http", "api.stripe.com", protocol=Protocol.HTTP),), False),
    ],
    ids=["same", "gone", "address denied", "not looked at", "other protocol"],
)
def test_what_is_known_of_a_tunnel_is_judged_and_no_more(rules: Sequence[Rule], permitted: bool) -> None:
    draft, _ = open_tunnel()
    draft.opening = Opening(Protocol.TLS, HELLO)
    assert still_permits(build(*rules), draft, 0.0) is permitted


def test_first_bytes_that_nobody_looked_at_are_not_held_against_a_tunnel() -> None:
    draft, _ = open_tunnel()
    assert still_permits(build(STRIPE), draft, 0.0)


async def test_older_rules_stay_whole_while_somebody_may_still_be_judged_by_them() -> None:
    old = generation(1, STRIPE)
    walking, _ = open_tunnel()
    walking.tunnel = None
    bed = Bed(InForce(generation(2, OTHER)), [walking])
    bed.reevaluation.retire(old)
    await bed.look_after()
    assert len(old.candidates) == 1
    walking.tunnel = tunnel = CutTunnel(walking)  # opened by the old rules after the new ones took over
    await bed.look_after()
    assert tunnel.cut_for is Reason.POLICY_CHANGED
    assert old.candidates == []


async def test_older_rules_stay_whole_for_a_tunnel_whose_requests_are_judged_by_them() -> None:
    old = generation(1, STRIPE)
    draft, _ = open_tunnel()
    draft.tunnel = tunnel = CutTunnel(draft, asks_rules=True)
    bed = Bed(InForce(generation(2, STRIPE)), [draft])
    bed.reevaluation.retire(old)
    await bed.look_after()
    assert (tunnel.cut_for, len(old.candidates)) == (None, 1)
    bed.drafts.clear()
    await bed.look_after()
    assert old.candidates == []


@pytest.mark.parametrize(("answered", "left"), [(2, 1), (3, 0)], ids=["under way", "between requests"])
async def test_older_rules_stay_whole_for_a_request_and_no_longer(answered: int, left: int) -> None:
    old = generation(1, STRIPE)
    draft, _ = open_tunnel()
    draft.tunnel, draft.requests, draft.answered = None, 3, answered
    bed = Bed(InForce(generation(2, OTHER)), [draft])
    bed.reevaluation.retire(old)
    await bed.look_after()
    assert len(old.candidates) == left


async def test_who_has_not_asked_any_rules_holds_none() -> None:
    old = generation(1, STRIPE)
    fresh = asked()
    fresh.generation = 0
    bed = Bed(InForce(generation(2, OTHER)), [fresh])
    bed.reevaluation.retire(old)
    await bed.look_after()
    assert old.candidates == []


async def test_ten_thousand_tunnels_are_judged_in_slices() -> None:
    drafts = [open_tunnel(number=number)[0] for number in range(SLICE * 4)]
    bed = Bed(InForce(generation(2, OTHER)), drafts)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await bed.look_after()
    counting.cancel()
    assert turns >= 4
    assert all(draft.tunnel is None for draft in drafts)


async def test_it_follows_every_reload_until_nothing_is_left_to_do() -> None:
    old = generation(1, STRIPE)
    draft, tunnel = open_tunnel()
    in_force = InForce(generation(2, OTHER))
    reevaluation = Reevaluation(lambda: [draft], in_force, StillClock(), look_every=0.001)
    following = asyncio.create_task(reevaluation.follow())
    await asyncio.sleep(0)
    reevaluation.retire(old)
    async with asyncio.timeout(5):
        while old.candidates:  # noqa: ASYNC110  # nobody tells when old rules are gone
            await asyncio.sleep(0.001)
    following.cancel()
    assert tunnel.cut_for is Reason.POLICY_CHANGED


def test_a_policy_without_rules_forbids_every_tunnel() -> None:
    draft, _ = open_tunnel()
    assert Policy().rules == ()
    assert not still_permits(build(), draft, 0.0)


async def test_after_a_way_back_to_the_generation_before_it_judges_what_the_refused_one_let_in_or_drains() -> None:
    """One of several workers could not take what the others had taken."""
    (older, allowed), (newer, let_in) = open_tunnel(), open_tunnel("x.test:443", 1)
    newer.generation = 2
    bed = Bed(InForce(generation(2, OTHER), "drain"), [older, newer])
    await bed.look_after()  # the older one is to end when it is idle
    bed.reevaluation._in_force = InForce(generation(1, STRIPE), "drain")
    await bed.look_after()
    await bed.look_after(IDLE_SECONDS)
    assert (allowed.cut_for, let_in.cut_for) == (None, Reason.POLICY_CHANGED)


async def test_rules_that_were_gone_back_from_are_taken_down_however_many_are_judged_since() -> None:
    (by_first, _), (by_refused, _), (since, _) = (open_tunnel(number=number) for number in range(3))
    by_refused.generation = 2
    for draft in (by_first, by_refused, since):
        draft.tunnel = None
    bed = Bed(InForce(generation(1, STRIPE)), [by_first, by_refused])
    first, refused = generation(1, STRIPE), generation(2, OTHER)
    bed.reevaluation.retire(first)
    bed.reevaluation.retire(refused)
    await bed.look_after()
    assert (len(first.candidates), len(refused.candidates)) == (1, 1)
    bed.drafts[:] = [since]  # by those that are in force, which have the number of the first
    await bed.look_after()
    assert (first.candidates, refused.candidates) == ([], [])
