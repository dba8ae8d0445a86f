"""What several inspectors say of one exchange, together."""

import gzip
from collections.abc import Callable, Mapping

import pytest

from gateway.intercept.inspecting.decoding import DecodingBounds
from gateway.intercept.inspecting.inline import InlineKind
from gateway.intercept.inspecting.sessions import MAX_NOTES
from gateway.intercept.inspecting.watch import ExchangeWatch, InspectorPolicy, NamedInspector
from gateway.intercept.inspectors import DONE, Answer, Inspector, RequestHead, ResponseHead, annotate, deny
from gateway.model.inspection.terms import NotAllowed
from gateway.model.reasons import Reason
from tests.intercept.shipped.test_secrets import Beyond

STRICT = InspectorPolicy(tolerates_failure=False, denies_unknown=True, bounds=DecodingBounds(1 << 20, 100))
TOLERANT = STRICT._replace(tolerates_failure=True, denies_unknown=False)
ANSWER = ResponseHead(200, ())


def asked(*fields: tuple[str, str]) -> RequestHead:
    return RequestHead("POST", "https", "api.test", 443, "/", fields)


class Counts(Inspector):
    def __init__(self) -> None:
        self.size = 0

    def request_chunk(self, data: bytes) -> Answer:
        self.size += len(data)
        return annotate("size", str(self.size))


class Refuses(Inspector):
    def request_chunk(self, data: bytes) -> Answer:
        return deny("a word") if b"word" in data else Answer()

    def response_head(self, head: ResponseHead) -> Answer:
        return deny("an answer")


class Breaks(Inspector):
    def request_chunk(self, data: bytes) -> Answer:
        raise LookupError(data)


class LooksAtHeads(Inspector):
    def request_head(self, head: RequestHead) -> Answer:
        return Answer(notes=tuple((f"key{number}" + "k" * 99, "v" * 999) for number in range(99)))


class SeesEnough(Inspector):
    def request_head(self, head: RequestHead) -> Answer:
        return DONE

    def request_chunk(self, data: bytes) -> Answer:
        raise AssertionError("it was shown more")


def watch_with(
    kinds: Mapping[str, Callable[[], Inspector]], policy: InspectorPolicy = STRICT, report: bool = False
) -> ExchangeWatch:
    inspectors = [NamedInspector(name, policy, InlineKind(make).open()) for name, make in kinds.items()]
    return ExchangeWatch(inspectors, lambda: None, report)


async def send(watch: ExchangeWatch, data: bytes, *fields: tuple[str, str]) -> Beyond:
    beyond = Beyond()
    await watch.judge_request(asked(*fields))
    watch.up.open_to(beyond)
    watch.up.feed(data)
    watch.up.finish()
    return beyond


async def test_one_objection_is_enough_and_the_first_counts() -> None:
    watch = watch_with({"counts": Counts, "refuses": Refuses, "breaks": Breaks})
    beyond = await send(watch, b"a word")
    assert watch.objection == NotAllowed(Reason.INSPECTOR_DENIED, "refuses: a word")
    assert (beyond.got, dict(watch.said.notes)) == (b"", {"counts.size": "6"})


async def test_report_remembers_the_objection_and_lets_everything_pass() -> None:
    watch = watch_with({"refuses": Refuses}, report=True)
    beyond = await send(watch, b"a word")
    assert watch.objection is not None
    assert (beyond.got, beyond.is_whole) == (b"a word", True)
    await watch.judge_response(ANSWER)
    assert watch.objection == NotAllowed(Reason.INSPECTOR_DENIED, "refuses: a word")


async def test_one_that_raises_is_told_by_the_kind_of_its_error_alone() -> None:
    watch = watch_with({"breaks": Breaks})
    await send(watch, b"a key")
    assert watch.objection is not None
    assert watch.objection.reason is Reason.INSPECTOR_FAILED
    assert watch.objection.detail.startswith("breaks: raised LookupError in request_chunk, line ")
    assert watch.said.failures == ["breaks"]


async def test_one_that_may_fail_is_asked_no_more_and_everything_passes() -> None:
    watch = watch_with({"breaks": Breaks}, TOLERANT)
    beyond = await send(watch, b"a key")
    assert watch.objection is None
    assert (beyond.got, beyond.is_whole, watch.said.failures) == (b"a key", True, ["breaks"])


async def test_an_answer_can_be_objected_to_by_its_head() -> None:
    watch = watch_with({"refuses": Refuses})
    await send(watch, b"fine")
    await watch.judge_response(ANSWER)
    assert watch.objection == NotAllowed(Reason.INSPECTOR_DENIED, "refuses: an answer")


async def test_notes_are_bounded() -> None:
    watch = watch_with({"heads": LooksAtHeads})
    await send(watch, b"")
    assert len(watch.said.notes) == MAX_NOTES
    assert max(len(key) for key in watch.said.notes) == len("heads.") + 32
    assert {len(value) for value in watch.said.notes.values()} == {128}


async def test_who_has_seen_enough_at_the_head_is_shown_no_content() -> None:
    beyond = await send(watch_with({"enough": SeesEnough}), b"abc", ("Content-Encoding", "unheard-of"))
    assert (beyond.got, beyond.is_whole) == (b"abc", True)


@pytest.mark.parametrize(("policy", "passes"), [(STRICT, False), (TOLERANT, True)])
async def test_an_unknown_coding_is_refused_where_content_is_read(policy: InspectorPolicy, passes: bool) -> None:
    watch = watch_with({"counts": Counts}, policy)
    beyond = await send(watch, b"abc", ("Content-Encoding", "unheard-of"))
    assert (watch.objection is None) is passes
    assert beyond.got == (b"abc" if passes else b"")


@pytest.mark.parametrize(
    ("kind", "policy", "passes"),
    [
        (Counts, STRICT, False),
        (Counts, TOLERANT, True),
        (LooksAtHeads, STRICT, True),
        (SeesEnough, STRICT, False),  # of a request without content; the tunnel has some
    ],
)
async def test_a_websocket_is_refused_where_content_is_read(
    kind: type[Inspector], policy: InspectorPolicy, passes: bool
) -> None:
    watch = watch_with({"it": kind}, policy)
    await watch.judge_request(asked())
    watch.judge_upgrade()
    assert (watch.objection is None) is passes


async def test_nothing_is_said_of_an_exchange_that_is_over() -> None:
    watch = watch_with({"refuses": Refuses})
    await watch.judge_request(asked())
    watch.close()
    watch.up.feed(b"a word")
    assert watch.objection is None


@pytest.mark.parametrize("spelling", ["Content-Encoding", "content_encoding"])
async def test_a_coding_is_undone_in_whatever_spelling_an_origin_may_read_it(spelling: str) -> None:
    watch = watch_with({"strict": Refuses})
    beyond = await send(watch, gzip.compress(b"a word"), (spelling, "gzip"))
    assert watch.objection == NotAllowed(Reason.INSPECTOR_DENIED, "strict: a word")
    assert beyond.got == b""
