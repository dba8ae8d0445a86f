"""Keys in what is sent: found wherever content is split, and never completed beyond the gateway."""

import asyncio
import string
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.intercept.inspecting.decoding import DecodingBounds
from gateway.intercept.inspecting.inline import InlineKind
from gateway.intercept.inspecting.watch import ExchangeWatch, InspectorPolicy, NamedInspector
from gateway.intercept.inspectors import Answer
from gateway.intercept.shipped.patterns import BUILT_IN, LONGEST, BadPattern, Pattern, own_pattern
from gateway.intercept.shipped.secrets import Secrets, SecretsOptions
from gateway.model.inspection.watching import RequestHead
from gateway.model.reasons import Reason
from tests.intercept.shipped.keys import KEYS

HEAD = RequestHead("POST", "https", "api.test", 443, "/", ())
POLICY = InspectorPolicy(tolerates_failure=False, denies_unknown=True, bounds=DecodingBounds(1 << 26, 100))


class Beyond:
    """Where content goes on."""

    def __init__(self) -> None:
        self.got = b""
        self.is_whole = False

    def passed(self, data: bytes) -> None:
        self.got += data

    def ended(self) -> None:
        self.is_whole = True


def send(pieces: Sequence[bytes], patterns: Sequence[Pattern], blocks: bool = True) -> tuple[Beyond, ExchangeWatch]:
    """What becomes of a request's content that comes in these pieces."""

    async def exchange() -> tuple[Beyond, ExchangeWatch]:
        kind = InlineKind(SecretsOptions(tuple(patterns), blocks).make)
        watch = ExchangeWatch([NamedInspector("keys", POLICY, kind.open())], lambda: None, report=False)
        beyond = Beyond()
        await watch.judge_request(HEAD)
        watch.up.open_to(beyond)
        for piece in pieces:
            watch.up.feed(piece)
        watch.up.finish()
        return beyond, watch

    return asyncio.run(exchange())


def visible(key: bytes, got: bytes, start: bytes) -> bytes:
    """The longest beginning of the key that got through and tells more than its fixed start."""
    sizes = [size for size in range(len(start) + 1, len(key) + 1) if key[:size] in got]
    return key[: max(sizes, default=0)]


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_key_split_anywhere_is_found_and_no_part_of_it_gets_through(name: str) -> None:
    key, pattern = KEYS[name], BUILT_IN[name]
    start = next(each for each in pattern.starts if key.startswith(each))
    text = b'{"token": "' + key + b'", "more": 1}'
    for cut in range(len(text) + 1):
        beyond, watch = send([text[:cut], text[cut:]], list(BUILT_IN.values()))
        assert watch.objection is not None, cut
        assert watch.objection.reason is Reason.INSPECTOR_DENIED
        assert name in watch.objection.detail
        assert not visible(key, beyond.got, start)
        assert not beyond.is_whole
        assert key.decode() not in watch.objection.detail


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_key_that_comes_byte_by_byte_is_found(name: str) -> None:
    text = b"x=" + KEYS[name]
    beyond, watch = send([text[at : at + 1] for at in range(len(text))], list(BUILT_IN.values()))
    assert watch.objection is not None
    assert KEYS[name] not in beyond.got


@given(
    before=st.binary(max_size=300),
    name=st.sampled_from(sorted(KEYS)),
    after=st.binary(max_size=100),
    cuts=st.lists(st.integers(0, 700), max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_whatever_surrounds_a_key_and_however_it_is_cut(
    before: bytes, name: str, after: bytes, cuts: list[int]
) -> None:
    text = before + b" " + KEYS[name] + after
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[low:high] for low, high in pairwise(edges)]
    beyond, watch = send(pieces, list(BUILT_IN.values()))
    assert watch.objection is not None
    assert text.startswith(beyond.got)
    assert KEYS[name] not in beyond.got


@given(text=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=5))
@settings(max_examples=100, deadline=None)
def test_what_holds_no_key_goes_on_whole(text: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    beyond, watch = send([text[low:high] for low, high in pairwise(edges)], list(BUILT_IN.values()))
    assert watch.objection is None
    assert (beyond.got, beyond.is_whole) == (text, True)


class Forgetful(Secrets):
    """A planted fault: looks at each piece alone."""

    def request_chunk(self, data: bytes) -> Answer:
        self._before = b""
        return super().request_chunk(data)


def test_the_property_catches_an_inspector_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intercept.shipped.secrets.Secrets", Forgetful)
    key = KEYS["github-token"]
    missed = [
        cut for cut in range(len(key)) if send([key[:cut], key[cut:]], list(BUILT_IN.values()))[1].objection is None
    ]
    assert len(missed) > 10


def test_what_only_begins_like_a_key_is_held_until_it_is_none() -> None:
    async def exchange() -> tuple[bytes, bytes, bytes]:
        kind = InlineKind(SecretsOptions(tuple(BUILT_IN.values()), blocks=True).make)
        watch = ExchangeWatch([NamedInspector("keys", POLICY, kind.open())], lambda: None, report=False)
        beyond = Beyond()
        await watch.judge_request(HEAD)
        watch.up.open_to(beyond)
        watch.up.feed(b"id=gh")
        first = beyond.got
        watch.up.feed(b"p_" + b"a" * 20)
        second = beyond.got
        watch.up.feed(b" no key")
        return first, second, beyond.got

    first, second, third = asyncio.run(exchange())
    assert first == b"id=gh"  # no more than a key's fixed start is ever shown
    assert second == b"id=gh"
    assert third == b"id=ghp_" + b"a" * 20 + b" no key"


def test_report_notes_the_form_of_what_it_finds_once_and_never_the_key() -> None:
    key, other = KEYS["stripe-key"], KEYS["slack-token"]
    beyond, watch = send([key, b" ", key, b" ", other], list(BUILT_IN.values()), blocks=False)
    assert watch.objection is None
    assert beyond.got == key + b" " + key + b" " + other
    assert dict(watch.said.notes) == {"keys.found": "stripe-key, slack-token"}


def test_a_name_that_contains_what_looks_like_a_key_is_no_aws_key() -> None:
    text = b"XAKIA" + string.ascii_uppercase[:16].encode()
    for cut in range(len(text)):
        assert send([b" " * 5000, text[:cut], text[cut:]], [BUILT_IN["aws-access-key"]])[1].objection is None


@pytest.mark.parametrize("starts", [(), ("acme_",)])
def test_a_pattern_of_ones_own_is_found_wherever_it_is_split(starts: tuple[str, ...]) -> None:
    pattern = own_pattern("acme", "acme_[0-9]{12}", starts, 64)
    text = b"key: acme_123456789012;"
    for cut in range(len(text)):
        beyond, watch = send([text[:cut], text[cut:]], [pattern])
        assert watch.objection is not None
        assert b"acme_1" not in beyond.got


@pytest.mark.parametrize("expression", ["a(", "[", "(?=x)", r"(a)\1", "x*"])
def test_what_is_no_expression_says_so(expression: str) -> None:
    with pytest.raises(BadPattern):
        own_pattern("bad", expression, (), 64)


def test_no_known_form_reaches_further_than_is_remembered() -> None:
    assert all(len(KEYS[name]) < pattern.longest <= LONGEST for name, pattern in BUILT_IN.items())
