"""The inspectors of one exchange: collects their answers and ends the exchange if one objects.

The first objection counts. An inspector that fails objects as well, unless it is declared with `on_error: allow`: then
it is not asked any more.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway.intercept.inspecting.decoding import Bounds, Decoder, UnknownCoding, open_decoder
from gateway.intercept.inspecting.gate import ContentGate, Reader
from gateway.intercept.inspecting.sessions import LONGEST_KEY, LONGEST_VALUE, MAX_NOTES, Failed, Session
from gateway.intercept.inspectors import Answer
from gateway.model.inspection.terms import NotAllowed
from gateway.model.inspection.watching import RequestHead, ResponseHead, Said
from gateway.model.reasons import Reason

_OF_CONTENT = frozenset(("request_chunk", "request_end", "response_chunk", "response_end"))


class Manners(NamedTuple):
    """What gateway.yaml says of an inspector whatever its kind. `denies_unknown`: content with an unknown coding."""

    tolerates_failure: bool
    denies_unknown: bool
    bounds: Bounds


class Look(NamedTuple):
    """An inspector that a rule names, by its name in gateway.yaml."""

    name: str
    manners: Manners
    session: Session


class ExchangeWatch:
    """Fulfils `watching.Watch`."""

    def __init__(self, looks: Sequence[Look], ring: Callable[[], None], report: bool) -> None:
        self.objection: NotAllowed | None = None
        self._notes: dict[str, str] = {}
        self._failures: list[str] = []
        self.said = Said(self._notes, self._failures)
        self._looks = looks
        self._ring = ring
        self._report = report
        self._blind: set[str] = set()  # names of those that are not asked any more
        self._sated: set[tuple[str, str]] = set()  # those that are done with a direction
        self._missing = 0
        self._waiter: asyncio.Future[None] | None = None
        self._up: ContentGate | None = None
        self._down: ContentGate | None = None
        self._is_closed = False

    @property
    def up(self) -> ContentGate:
        """See `Watch`."""
        if self._up is None:
            raise RuntimeError("the request's head was not judged")
        return self._up

    @property
    def down(self) -> ContentGate:
        """See `Watch`."""
        if self._down is None:
            raise RuntimeError("the response's head was not judged")
        return self._down

    def judge_upgrade(self) -> None:
        """See `Watch`. Who is done with the request's content has not said so of the tunnel's, of which it knows
        nothing."""
        for look in self._looks:
            reads = look.name not in self._blind and not look.session.methods.isdisjoint(_OF_CONTENT)
            if look.manners.denies_unknown and reads:
                self.object_to(Reason.CONTENT_UNREADABLE, f"a WebSocket, for {look.name}")

    async def judge_request(self, head: RequestHead) -> None:
        """See `Watch`."""
        await self._judge("request", head)
        self._up = self._gate("request", head.values("content-encoding"))

    async def judge_response(self, head: ResponseHead) -> None:
        """See `Watch`."""
        await self._judge("response", head)
        self._down = self._gate("response", head.values("content-encoding"))

    def object_to(self, reason: Reason, detail: str) -> None:
        """Ends the exchange; remembered only where the rule only reports."""
        if self.objection is not None or self._is_closed:
            return
        self.objection = NotAllowed(reason, detail)
        self._blind.update(look.name for look in self._looks)
        for gate in (self._up, self._down):
            if gate is not None and self._report:
                gate.leave_open()
            elif gate is not None:
                gate.shut()
        self._wake()
        self._ring()

    def close(self) -> None:
        """See `Watch`."""
        if self._is_closed:
            return
        self._is_closed = True
        for gate in (self._up, self._down):
            if gate is not None:
                gate.retire()
        for look in self._looks:
            look.session.close()

    # Heads.

    async def _judge(self, direction: str, head: RequestHead | ResponseHead) -> None:
        method = f"{direction}_head"
        asked = [look for look in self._looks if look.name not in self._blind and method in look.session.methods]
        self._missing = len(asked)
        for look in asked:
            self._ask(look, method, head, partial(self._judged, look, direction))
        while self._missing and self.objection is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _judged(self, look: Look, direction: str, answer: Answer | None) -> None:
        self._missing -= 1
        if answer is None or answer.done:
            self._sated.add((look.name, direction))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Content.

    def _reads(self, look: Look, direction: str) -> bool:
        if look.name in self._blind or (look.name, direction) in self._sated:
            return False
        return not look.session.methods.isdisjoint((f"{direction}_chunk", f"{direction}_end"))

    def _gate(self, direction: str, codings: Sequence[str]) -> ContentGate:
        looks = [look for look in self._looks if self._reads(look, direction)]
        decoder = None
        if looks:
            try:
                decoder = self._decoder(looks, codings)
            except UnknownCoding as unknown:
                looks = self._without_decoder(looks, str(unknown))
        readers = [Reader(self._asker(look), direction) for look in looks]
        gate = ContentGate(readers, decoder, self._cannot_decode, self._ring)
        if self.objection is not None and not self._report:
            gate.shut()
        return gate

    def _decoder(self, looks: Sequence[Look], codings: Sequence[str]) -> Decoder | None:
        """With the narrowest bounds of all inspectors."""
        bounds = [look.manners.bounds for look in looks]
        return open_decoder(codings, Bounds(min(each.size for each in bounds), min(each.ratio for each in bounds)))

    def _without_decoder(self, looks: Sequence[Look], coding: str) -> list[Look]:
        """Content that cannot be decoded is shown to no inspector."""
        strict = next((look for look in looks if look.manners.denies_unknown), None)
        if strict is not None:
            self.object_to(Reason.CONTENT_UNREADABLE, f"content coding {coding[:LONGEST_KEY]}, for {strict.name}")
        return []

    def _cannot_decode(self, why: str) -> None:
        self.object_to(Reason.CONTENT_UNREADABLE, why)

    def _asker(self, look: Look) -> Callable[[str, object, Callable[[Answer | None], None]], None]:
        return partial(self._ask, look)

    # Asking.

    def _ask(self, look: Look, method: str, shown: object, answered: Callable[[Answer | None], None]) -> None:
        if look.name in self._blind or method not in look.session.methods:
            nothing_to_say = look.name in self._blind or method.endswith("_end")
            answered(None if nothing_to_say else Answer())
            return
        look.session.ask(method, shown, lambda answer: self._take(look, answer, answered))

    def _take(self, look: Look, answer: Answer | Failed, answered: Callable[[Answer | None], None]) -> None:
        if self._is_closed:
            return
        if isinstance(answer, Failed):
            self._fail(look, answer)
            answered(None)
            return
        self._note(look, answer)
        if answer.denial is not None:
            self.object_to(Reason.INSPECTOR_DENIED, f"{look.name}: {answer.denial}")
        answered(answer)

    def _fail(self, look: Look, failed: Failed) -> None:
        if look.name in self._blind:
            return
        self._failures.append(look.name)
        self._notes[f"{look.name}.failed"] = failed.detail[:LONGEST_VALUE]
        self._blind.add(look.name)
        if not look.manners.tolerates_failure:
            self.object_to(Reason.INSPECTOR_FAILED, f"{look.name}: {failed.detail}")

    def _note(self, look: Look, answer: Answer) -> None:
        for key, value in answer.notes:
            name = f"{look.name}.{key[:LONGEST_KEY]}"
            if name in self._notes or len(self._notes) < MAX_NOTES:
                self._notes[name] = value[:LONGEST_VALUE]
