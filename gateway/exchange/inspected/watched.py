"""One exchange and its rule's inspectors: when they are asked, and what happens if they object."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gateway.exchange.inlet import Inlet, Outlet
from gateway.exchange.inspected.gated import GatedOutlet, shown_request, shown_response
from gateway.exchange.inspected.outlets import ScrubbedGate
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import ResponsePlan
from gateway.exchange.scope import Judged
from gateway.model.decision import Permit, WouldDeny
from gateway.model.errors import Refused
from gateway.model.inspection.watching import Gate, Watch
from gateway.model.record import ExchangeDraft
from gateway.net.stream import HOLD_BOUND
from gateway.policy.requests.scrubbing import Scrubber
from gateway.wire.http.messages import Delimiter, Request

Wait = Callable[[], Coroutine[Any, Any, None]]
"""Returns when something happened: the exchange's own `_wait`."""


async def _nobody_waits() -> None:
    """The exchange is over."""


class Watched:
    """One exchange under the eyes of inspectors. Its maker closes it, however the exchange ends."""

    __slots__ = ("_draft", "_gated", "_permit", "_wait", "_watch")

    def __init__(self, watch: Watch, permit: Permit, draft: ExchangeDraft, wait: Wait) -> None:
        self._watch = watch
        self._permit = permit
        self._draft = draft
        self._wait = wait
        self._gated: list[GatedOutlet] = []

    async def judge_request(self, plan: RequestPlan, judged: Judged, is_secure: bool, inlet: Inlet[Request]) -> None:
        """Have the head judged, and content as well if it is small, so that nothing is dialled for a refused request.
        `is_secure`: it came inside TLS. Raises `Refused`."""
        watch = self._watch
        await watch.judge_request(shown_request(plan, judged.named, is_secure), not plan.request.framing.is_empty)
        if plan.websocket:
            watch.judge_upgrade()
        self.check()
        if _comes_at_once(plan):
            while inlet.end is None:
                await self._wait()
        if inlet.end is not None:
            watch.up.feed(inlet.held_content())
            watch.up.finish()
            self.check()
            while not watch.up.has_ended:
                await self._wait()

    async def judge_response(self, planned: ResponsePlan) -> None:
        """Have the head judged. Raises `Refused`."""
        await self._watch.judge_response(shown_response(planned), not planned.response.framing.is_empty)
        self.check()

    @property
    def is_looking(self) -> bool:
        """Whether an inspector has content to answer for."""
        return self._watch.is_looking

    @property
    def objects(self) -> bool:
        """Whether inspectors have objected. Report mode lets the exchange pass nevertheless."""
        return self._watch.objection is not None

    def check(self) -> None:
        """Raise `Refused` if there is an objection; else release content that waited."""
        objection = self._watch.objection
        if objection is not None and not self._permit.report:
            raise Refused(self._permit.denial(*objection))
        for outlet in self._gated:
            outlet.go_on()

    # Content.

    def up(self, onward: Outlet) -> Outlet:
        """An outlet whose content is shown to the inspectors first, then sent to the destination."""
        return self._past(GatedOutlet(onward, self._watch.up))

    def down(self, onward: Outlet, masked: Sequence[bytes] = ()) -> Outlet:
        """Likewise, sent to the client; `masked` are not shown."""
        gate: Gate = self._watch.down
        return self._past(GatedOutlet(onward, ScrubbedGate(gate, Scrubber(masked)) if masked else gate))

    def _past(self, gated: GatedOutlet) -> GatedOutlet:
        self._gated.append(gated)
        return gated

    @property
    def is_sent(self) -> bool:
        """Whether the whole request was sent on, its end included."""
        return self._watch.up.has_ended

    async def settle(self) -> None:
        """Until the whole response was sent on, its end included. Raises `Refused`."""
        while not self._watch.down.has_ended:
            await self._wait()

    def close(self) -> None:
        """Stop inspecting, and note what report mode let pass."""
        self._watch.close()
        self._gated.clear()
        self._wait = _nobody_waits  # it was the exchange's: this and the exchange would keep each other alive
        objection = self._watch.objection
        if objection is not None and self._permit.report and self._draft.would_deny is None:
            self._draft.would_deny = WouldDeny(objection.reason, self._permit.rule)


def _comes_at_once(plan: RequestPlan) -> bool:
    """Whether the whole request can be waited for: it is small, and its client waits for nothing before it sends it."""
    framing = plan.request.framing
    is_small = framing.delimiter is Delimiter.LENGTH and framing.length < HOLD_BOUND
    return is_small and not plan.request.expects_continue
