"""The inspectors of one exchange: collects their answers and ends the exchange if one objects.

The first objection counts. An inspector that fails objects as well; one that is declared with `on_error: allow` is only
not asked any more.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway.intercept.inspecting.decoding import Decoder, DecodingBounds, UnknownCoding, open_decoder
from gateway.intercept.inspecting.gate import ContentGate, Reader, Reply
from gateway.intercept.inspecting.sessions import LONGEST_KEY, LONGEST_VALUE, MAX_NOTES, Failed, Session
from gateway.intercept.inspectors import Answer
from gateway.model.inspection.terms import NotAllowed
from gateway.model.inspection.watching import RequestHead, ResponseHead, Said
from gateway.model.reasons import Reason

_OF_CONTENT = frozenset(("request_chunk", "request_end", "response_chunk", "response_end"))


class InspectorPolicy(NamedTuple):
    """What gateway.yaml says of inspectors of any kind. `denies_unknown`: content with an unknown coding is denied."""

    tolerates_failure: bool
    denies_unknown: bool
    bounds: DecodingBounds


class NamedInspector(NamedTuple):
    """An inspector that a rule names, and its session for one exchange. `name` is that in gateway.yaml."""

    name: str
    policy: InspectorPolicy
    session: Session


class ExchangeWatch:
    """Fulfils `watching.Watch`."""

    def __init__(self, inspectors: Sequence[NamedInspector], ring: Callable[[], None], report: bool) -> None:
        self.objection: NotAllowed | None = None
        self._notes: dict[str, str] = {}
        self._failures: list[str] = []
        self.said = Said(self._notes, self._failures)
        self._inspectors = inspectors
        self._ring = ring
        self._report = report
        self._silenced: set[str] = set()  # names of those that are not asked any more
        self._satisfied: set[tuple[str, str]] = set()  # those that are done with a direction
        self._missing = 0
        self._waiter: asyncio.Future[None] | None = None
        self._up: ContentGate | None = None
        self._down: ContentGate | None = None
        self._is_closed = False

    @property
    def is_looking(self) -> bool:
        """See `Watch`."""
        return any(gate is not None and gate.is_asking for gate in (self._up, self._down))

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
        """See `Watch`. An inspector that is done with the request's content has not said so of the tunnel's, of which
        it knows nothing."""
        for inspector in self._inspectors:
            reads = inspector.name not in self._silenced and not inspector.session.methods.isdisjoint(_OF_CONTENT)
            if inspector.policy.denies_unknown and reads:
                self.object_to(Reason.CONTENT_UNREADABLE, f"a WebSocket, for {inspector.name}")

    async def judge_request(self, head: RequestHead, has_content: bool = True) -> None:
        """See `Watch`."""
        await self._judge("request", head)
        self._up = self._gate("request", head.values("content-encoding") if has_content else ())

    async def judge_response(self, head: ResponseHead, has_content: bool = True) -> None:
        """See `Watch`."""
        await self._judge("response", head)
        self._down = self._gate("response", head.values("content-encoding") if has_content else ())

    def object_to(self, reason: Reason, detail: str) -> None:
        """End the exchange; under a rule in report mode only remember the objection."""
        if self.objection is not None or self._is_closed:
            return
        self.objection = NotAllowed(reason, detail)
        self._silenced.update(inspector.name for inspector in self._inspectors)
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
        for inspector in self._inspectors:
            inspector.session.close()

    # Heads.

    async def _judge(self, direction: str, head: RequestHead | ResponseHead) -> None:
        method = f"{direction}_head"
        speaking = [each for each in self._inspectors if each.name not in self._silenced]
        asked = [each for each in speaking if method in each.session.methods]
        self._missing = len(asked)
        for inspector in asked:
            self._ask(inspector, method, head, partial(self._judged, inspector, direction))
        while self._missing and self.objection is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _judged(self, inspector: NamedInspector, direction: str, answer: Answer | None) -> None:
        self._missing -= 1
        if answer is None or answer.done:
            self._satisfied.add((inspector.name, direction))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Content.

    def _reads(self, inspector: NamedInspector, direction: str) -> bool:
        if inspector.name in self._silenced or (inspector.name, direction) in self._satisfied:
            return False
        return not inspector.session.methods.isdisjoint((f"{direction}_chunk", f"{direction}_end"))

    def _gate(self, direction: str, codings: Sequence[str]) -> ContentGate:
        inspectors = [inspector for inspector in self._inspectors if self._reads(inspector, direction)]
        decoder = None
        if inspectors:
            try:
                decoder = self._decoder(inspectors, codings)
            except UnknownCoding as unknown:
                self._object_to_coding(inspectors, str(unknown))
                inspectors = []  # what cannot be decoded is shown to none
        readers = [Reader(partial(self._ask, inspector), direction) for inspector in inspectors]
        gate = ContentGate(readers, decoder, partial(self.object_to, Reason.CONTENT_UNREADABLE), self._ring)
        if self.objection is not None and not self._report:
            gate.shut()
        return gate

    def _decoder(self, inspectors: Sequence[NamedInspector], codings: Sequence[str]) -> Decoder | None:
        """One with the narrowest bounds of all inspectors."""
        bounds = [inspector.policy.bounds for inspector in inspectors]
        return open_decoder(
            codings, DecodingBounds(min(each.size for each in bounds), min(each.ratio for each in bounds))
        )

    def _object_to_coding(self, inspectors: Sequence[NamedInspector], coding: str) -> None:
        """For the first inspector that denies content with an unknown coding, if one does."""
        strict = next((inspector for inspector in inspectors if inspector.policy.denies_unknown), None)
        if strict is not None:
            self.object_to(Reason.CONTENT_UNREADABLE, f"content coding {coding[:LONGEST_KEY]}, for {strict.name}")

    # Asking.

    def _ask(self, inspector: NamedInspector, method: str, shown: object, answered: Reply) -> None:
        if inspector.name in self._silenced or method not in inspector.session.methods:
            nothing_to_say = inspector.name in self._silenced or method.endswith("_end")
            answered(None if nothing_to_say else Answer())
            return
        inspector.session.ask(method, shown, lambda answer: self._take(inspector, answer, answered))

    def _take(self, inspector: NamedInspector, answer: Answer | Failed, answered: Reply) -> None:
        if self._is_closed:
            return
        if isinstance(answer, Failed):
            self._fail(inspector, answer)
            answered(None)
            return
        self._note(inspector, answer)
        if answer.denial is not None:
            self.object_to(Reason.INSPECTOR_DENIED, f"{inspector.name}: {answer.denial}")
        answered(answer)

    def _fail(self, inspector: NamedInspector, failed: Failed) -> None:
        if inspector.name in self._silenced:
            return
        self._failures.append(inspector.name)
        self._notes[f"{inspector.name}.failed"] = failed.detail[:LONGEST_VALUE]
        self._silenced.add(inspector.name)
        if not inspector.policy.tolerates_failure:
            self.object_to(Reason.INSPECTOR_FAILED, f"{inspector.name}: {failed.detail}")

    def _note(self, inspector: NamedInspector, answer: Answer) -> None:
        for key, value in answer.notes:
            name = f"{inspector.name}.{key[:LONGEST_KEY]}"
            if name in self._notes or len(self._notes) < MAX_NOTES:
                self._notes[name] = value[:LONGEST_VALUE]
