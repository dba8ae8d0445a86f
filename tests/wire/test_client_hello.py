"""ClientHellos: real ones, built ones, and what no honest client sends."""

import contextlib
import ssl
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.intent import ClientHello
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.wire import client_hello
from gateway.wire.client_hello import (
    MAX_LISTED,
    MAX_RECORDS,
    ClientHelloParser,
    MalformedClientHello,
    parse_client_hello,
)
from tests.helpers.client_hello import (
    ALPN,
    PADDING,
    SIGNATURES,
    TLS12,
    TLS13,
    VERSIONS,
    build_client_hello,
    build_message,
    in_records,
    numbers,
    server_name_extension,
    vector,
)
from tests.wire.feeding import UNSHRUNK, Parser, check_every_prefix_waits

LIMIT = 64 * 1024
START = numbers((TLS12,)) + bytes(32) + vector(bytes(32), 1) + vector(numbers((0x1301, 0xC02B)), 2) + b"\x01\0"

parse = partial(parse_client_hello, limit=LIMIT)


def record_real_hello(alpn: list[str], server_name: str | None = "api.allowed.test") -> bytes:
    """What Python's own TLS sends first."""
    context = ssl.create_default_context()
    context.check_hostname = server_name is not None
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def read(data: bytes) -> ClientHello:
    hello = parse(data)
    assert hello is not None
    return hello


def test_a_real_hello_is_read() -> None:
    hello = read(record_real_hello(["h2", "http/1.1"]))
    assert hello.server_name == "api.allowed.test"
    assert hello.alpn == ("h2", "http/1.1")
    assert hello.versions == (TLS13, TLS12)
    assert not hello.ech
    assert hello.ja4.startswith("t13d")


def test_a_real_hello_of_1800_bytes_is_read() -> None:
    """Of 3,100 where OpenSSL 3.5 adds a post-quantum key."""
    data = record_real_hello([f"protocol-{number:03}" for number in range(120)])
    assert len(data) >= 1800
    assert len(read(data).alpn) == 120


def test_a_real_hello_to_an_address_has_no_name() -> None:
    hello = read(record_real_hello([], server_name=None))
    assert hello.server_name is None
    assert hello.alpn == ()
    assert hello.ja4.startswith("t13i")


@pytest.mark.parametrize("size", [517, 1800, 15 * 1024, 60 * 1024])
@pytest.mark.parametrize("fragment", [None, 100, 1460])
def test_size_and_fragments_change_nothing(size: int, fragment: int | None) -> None:
    hello = read(build_client_hello("a.allowed.test", size=size, fragment=fragment))
    assert hello.server_name == "a.allowed.test"
    assert hello.alpn == ("h2", "http/1.1")


def test_one_byte_in_each_record_is_legal() -> None:
    assert read(build_client_hello(fragment=1)) == read(build_client_hello())


def test_the_name_is_canonical() -> None:
    assert read(build_client_hello("API.Allowed.Test.")).server_name == HostName("api.allowed.test")


def test_grease_means_nothing() -> None:
    greased = build_client_hello(
        versions=(0x3A3A, TLS13, TLS12),
        ciphers=(0x0A0A, 0x1301, 0xC02B),
        extensions=[(0xBABA, b""), (0xFAFA, b"\0")],
    )
    plain = build_client_hello(versions=(TLS13, TLS12), ciphers=(0x1301, 0xC02B))
    assert read(greased) == read(plain)


@pytest.mark.parametrize("kind", [0xFE0D, 0xFFCE], ids=["ECH", "ESNI"])
def test_an_encrypted_hello_is_noticed(kind: int) -> None:
    hello = read(build_client_hello("public.test", extensions=[(kind, bytes(64))]))
    assert hello.ech
    assert hello.server_name == "public.test"


def test_without_supported_versions_the_legacy_version_counts() -> None:
    assert read(build_client_hello(versions=())).versions == (TLS12,)


def test_a_hello_without_extensions_is_legal() -> None:
    hello = read(in_records(b"\x01" + vector(START, 3)))
    assert (hello.server_name, hello.alpn, hello.versions) == (None, (), (TLS12,))


def test_shuffled_extensions_give_the_same_fingerprint() -> None:
    extensions = [(21, b"\0"), server_name_extension(b"a.test"), (SIGNATURES, vector(b"\x04\x03", 2))]
    assert read(hello_with(*extensions)) == read(hello_with(*reversed(extensions)))


def hello_with(*extensions: tuple[int, bytes]) -> bytes:
    return in_records(build_message(START, extensions))


def named(*names: bytes) -> bytes:
    return hello_with(server_name_extension(*names))


MALFORMED = {
    "name is an IPv4 address": named(b"127.0.0.1"),
    "name is a number": named(b"2130706433"),
    "name is an IPv6 address": named(b"::1"),
    "name in brackets": named(b"[::1]"),
    "empty name": named(b""),
    "name of one dot": named(b"."),
    "two names": named(b"a.test", b"b.test"),
    "the same name twice": named(b"a.test", b"a.test"),
    "name with NUL": named(b"a.test\0.b.test"),
    "name with a space": named(b"a.test "),
    "name that is not ASCII": named("bücher.test".encode()),
    "name with two dots": named(b"a..test"),
    "name of 254 characters": named(b"a." * 126 + b"aa"),
    "label of 64 characters": named(b"a" * 64 + b".test"),
    "name of another type": hello_with((0, vector(b"\x01" + vector(b"a.test", 2), 2))),
    "empty list of names": hello_with((0, vector(b"", 2))),
    "empty extension server_name": hello_with((0, b"")),
    "bytes behind the list of names": hello_with((0, server_name_extension(b"a.test")[1] + b"\0")),
    "list of names too short": hello_with((0, b"\0\x05\0\0\x06a.test")),
    "server_name twice": hello_with(server_name_extension(b"a.test"), server_name_extension(b"a.test")),
    "another extension twice": hello_with((21, b""), (21, b"")),
    "GREASE extension twice": hello_with((0x0A0A, b""), (0x0A0A, b"")),
    "ALPN empty": hello_with((ALPN, b"")),
    "ALPN without protocols": hello_with((ALPN, vector(b"", 2))),
    "ALPN with an empty protocol": hello_with((ALPN, vector(b"\x02h2\0", 2))),
    "ALPN with a cut protocol": hello_with((ALPN, vector(b"\x09h2", 2))),
    "ALPN with bytes behind it": hello_with((ALPN, vector(b"\x02h2", 2) + b"\0")),
    "versions empty": hello_with((VERSIONS, vector(b"", 1))),
    "versions odd": hello_with((VERSIONS, vector(b"\x03\x04\x03", 1))),
    "versions with bytes behind them": hello_with((VERSIONS, vector(b"\x03\x04", 1) + b"\0")),
    "signature algorithms odd": hello_with((SIGNATURES, vector(b"\x04", 2))),
    "signature algorithms without length": hello_with((SIGNATURES, b"")),
    "extension behind the end": in_records(b"\x01" + vector(START + vector(b"\0\x15\0\x01", 2), 3)),
    "half an extension header": in_records(b"\x01" + vector(START + vector(b"\0\x15\0", 2), 3)),
    "bytes behind the extensions": in_records(b"\x01" + vector(START + vector(b"", 2) + b"\0", 3)),
    "one byte of extensions": in_records(b"\x01" + vector(START + b"\0", 3)),
    "session identifier of 33 bytes": in_records(
        b"\x01" + vector(START[:34] + vector(bytes(33), 1) + START[34 + 33 :], 3)
    ),
    "no cipher suites": in_records(b"\x01" + vector(START[:67] + b"\0\0\x01\0", 3)),
    "odd cipher suites": in_records(b"\x01" + vector(START[:67] + b"\0\x03\x13\x01\x13\x01\0", 3)),
    "no compression methods": in_records(b"\x01" + vector(START[:-2] + b"\0", 3)),
    "end inside the cipher suites": in_records(b"\x01" + vector(START[:70], 3)),
    "end behind the random": in_records(b"\x01" + vector(START[:34], 3)),
    "version 2": in_records(b"\x01" + vector(b"\x02" + START[1:], 3)),
    "empty message": in_records(b"\x01\0\0\0"),
    "empty message with more behind it": in_records(b"\x01\0\0\0" + START),
    "ServerHello": in_records(b"\x02" + vector(START, 3)),
    "a second message in the record": in_records(b"\x01" + vector(START, 3) + b"\x01"),
    "empty record first": b"\x16\x03\x01\0\0" + in_records(b"\x01" + vector(START, 3)),
    "empty record inside": in_records(b"\x01") + b"\x16\x03\x01\0\0" + in_records(vector(START, 3)),
    "alert inside": in_records(b"\x01" + vector(START, 3)[:9]) + b"\x15\x03\x03\0\x02\x01\0",
    "record of 16 KiB and one byte": b"\x16\x03\x01\x40\x01\x01\0\x40\0",
    "record of another version": b"\x16\x02\0\0\x05\x01\0\0\x50\x03",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_refused(data: bytes) -> None:
    with pytest.raises(MalformedClientHello) as caught:
        parse(data)
    assert caught.value.reason is Reason.MALFORMED_CLIENT_HELLO


@pytest.mark.parametrize(
    "data",
    [
        b"\x15",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x01\x00\x02",
        b"\x16\x03\x01\x00\x01\x01\x17",
        b"\x16\x03\x01\x00\x05\x01\0\0\x10\x03",
    ],
    ids=["alert", "empty record", "ServerHello", "application data behind the first byte", "declared too short"],
)
def test_what_can_become_no_hello_is_refused_without_waiting_for_its_end(data: bytes) -> None:
    with pytest.raises(MalformedClientHello):
        parse(data)


def test_what_follows_the_hello_in_other_records_is_left_alone() -> None:
    data = build_client_hello()
    early = b"\x14\x03\x03\0\x01\x01" + b"\x17\x03\x03\0\x20" + bytes(32)
    assert read(data + early) == read(data)


@pytest.mark.parametrize("fragment", [500, 1800])
def test_the_limit_counts_every_byte_on_the_wire(fragment: int) -> None:
    data = build_client_hello(size=1800, fragment=fragment)
    assert parse_client_hello(data, len(data)) is not None
    with pytest.raises(MalformedClientHello) as caught:
        parse_client_hello(data, len(data) - 1)
    assert caught.value.reason is Reason.CLIENT_HELLO_TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", id="announces 16 MiB"),
        pytest.param(b"\x16\x03\x01\x40\x00\x01\x00\xff\xfc", id="announces one byte more than the limit"),
        pytest.param(build_client_hello(size=60_000, fragment=40)[:-1], id="record headers do it"),
        pytest.param(in_records(b"\x01\x00\xf0\x00" + bytes(MAX_RECORDS), fragment=1), id="too many records"),
    ],
)
def test_too_large_is_known_before_it_came(data: bytes) -> None:
    with pytest.raises(MalformedClientHello) as caught:
        parse(data)
    assert caught.value.reason is Reason.CLIENT_HELLO_TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(hello_with(*[(kind, b"") for kind in range(2000, 2000 + MAX_LISTED + 1)]), id="extensions"),
        pytest.param(build_client_hello(alpn=["x"] * (MAX_LISTED + 1)), id="protocols"),
        pytest.param(build_client_hello(ciphers=[0x1301] * (MAX_LISTED + 1)), id="cipher suites"),
    ],
)
def test_lists_longer_than_any_registry_are_too_large(data: bytes) -> None:
    with pytest.raises(MalformedClientHello) as caught:
        parse(data)
    assert caught.value.reason is Reason.CLIENT_HELLO_TOO_LARGE


def test_a_hello_of_60_kb_one_byte_at_a_time_costs_little_at_each_arrival() -> None:
    data = build_client_hello(size=60_000)
    arrivals = range(0, len(data), 16)
    began = time.process_time()
    for size in arrivals:
        assert parse(data[:size]) is None
    assert (time.process_time() - began) / len(arrivals) < 200e-6


def test_bytes_that_drip_in_behind_a_thousand_records_cost_no_walk_over_them() -> None:
    message = build_client_hello(size=30_000)[5:]
    data = in_records(message[:1000], fragment=1) + in_records(message[1000:])
    parser = ClientHelloParser(LIMIT)
    arrivals = range(6000, 16_000)
    began = time.process_time()
    for size in arrivals:
        assert parser.parse(data[:size]) is None
    assert (time.process_time() - began) / len(arrivals) < 50e-6


NAMES = st.from_regex(r"([a-z0-9_][a-z0-9-]{0,20}\.){1,3}[a-z]{2,10}", fullmatch=True)


@st.composite
def hellos(draw: st.DrawFn) -> bytes:
    return build_client_hello(
        server_name=draw(st.none() | NAMES),
        alpn=draw(st.lists(st.sampled_from(["h2", "http/1.1", "x"]), max_size=3)),
        ech=draw(st.booleans()),
        fragment=draw(st.none() | st.integers(1, 400)),
        versions=draw(st.lists(st.sampled_from([TLS13, TLS12, 0x1A1A, 0x0301]), max_size=4)),
        seed=draw(st.integers(0, 9)),
    )


@settings(max_examples=60)
@given(hellos())
def test_feeding_byte_by_byte_gives_the_same_hello(data: bytes) -> None:
    check_every_prefix_waits(parse, data)


def test_the_feeding_property_catches_a_parser_that_takes_one_record_for_the_whole() -> None:
    def one_record(data: bytes) -> object:
        return parse(data[: 5 + int.from_bytes(data[3:5], "big")])

    with pytest.raises(AssertionError):
        UNSHRUNK(given(hellos())(lambda data: check_every_prefix_waits(one_record, data)))()


@st.composite
def damaged_hellos(draw: st.DrawFn) -> bytes:
    hello = draw(hellos())
    at = draw(st.integers(0, len(hello) - 1))
    return hello[:at] + draw(st.binary(max_size=2)) + hello[at + draw(st.integers(0, 2)) :]


def outcome(parse_any: Parser, data: bytes) -> object:
    try:
        return parse_any(data)
    except MalformedClientHello as malformed:
        return malformed.reason, malformed.detail


def check_going_on_is_starting_afresh(going_on: Parser, data: bytes) -> None:
    """At each arrival the same answer or the same refusal, which is the last."""
    for size in range(len(data) + 1):
        answer = outcome(parse, data[:size])
        assert outcome(going_on, data[:size]) == answer
        if answer is not None:
            return


@given(damaged_hellos())
def test_a_parser_that_goes_on_says_what_one_says_that_starts_afresh(data: bytes) -> None:
    check_going_on_is_starting_afresh(ClientHelloParser(LIMIT).parse, data)


def test_that_property_catches_a_parser_that_takes_what_has_not_come_for_zeros() -> None:
    class Hasty(ClientHelloParser):
        __slots__ = ()

        def _learn_size(self, data: bytes) -> None:
            super()._learn_size(data.ljust(9, b"\0"))

    def check(data: bytes) -> None:
        check_going_on_is_starting_afresh(Hasty(LIMIT).parse, data)

    with pytest.raises(AssertionError):
        UNSHRUNK(given(damaged_hellos())(check))()


@st.composite
def families(draw: st.DrawFn) -> list[bytes]:
    """Messages that differ in little: some of them in what is read, some in what is not."""
    first = build_client_hello(draw(NAMES), ech=draw(st.booleans()), seed=draw(st.integers(0, 9)))[5:]
    family = [first]
    for _ in range(draw(st.integers(1, 12))):
        message = bytearray(draw(st.sampled_from(family)))
        for _ in range(draw(st.integers(1, 3))):
            message[draw(st.integers(4, len(message) - 1))] = draw(st.sampled_from((0, 1, 2, 13, 16, 31, 33, 43, 97)))
        family.append(bytes(message))
    return family


def check_what_is_remembered_changes_nothing(messages: list[bytes]) -> None:
    """Hellos in several records are never remembered."""
    for message in messages:
        assert outcome(parse, in_records(message)) == outcome(parse, in_records(message, fragment=200))


@given(families())
def test_a_hello_that_was_remembered_says_what_it_says_when_it_is_read(messages: list[bytes]) -> None:
    check_what_is_remembered_changes_nothing([*messages, *messages])


def leave_out(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hellos remembered by all parts but this one."""
    whole = client_hello._parts_read

    def but_one(message: bytes) -> tuple[slice, ...]:
        parts = whole(message)
        return (*parts[:part], *parts[part + 1 :])

    monkeypatch.setattr(client_hello, "_shapes", {})
    monkeypatch.setattr(client_hello, "_parts_read", but_one)


def test_that_property_catches_a_memory_that_leaves_the_name_out(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out(2, monkeypatch)
    with pytest.raises(AssertionError):
        UNSHRUNK(given(families())(check_what_is_remembered_changes_nothing))()


def check_a_hello_hidden_in_a_session_identifier() -> None:
    """The second message is the first one to the byte, but for what stands in the first one's session identifier and
    for the length of that: none. So it asks for another name, and all else is padding."""
    outer = build_client_hello("allowed.test")[5:]
    hidden = vector(numbers((0x1301,)), 2) + b"\x01\0"
    kind, name = server_name_extension(b"evil.test")
    hidden += (len(outer) - 39 - len(hidden) - 2).to_bytes(2, "big") + numbers((kind,)) + vector(name, 2)
    hidden += numbers((PADDING, len(outer) - 39 - len(hidden) - 4))
    inner = outer[:38] + b"\0" + hidden + outer[39 + len(hidden) :]
    assert len(hidden) <= 32
    assert read(in_records(outer)).server_name == "allowed.test"
    assert read(in_records(inner)).server_name == "evil.test"


def test_a_hello_hidden_in_the_session_identifier_of_a_remembered_one_is_seen() -> None:
    check_a_hello_hidden_in_a_session_identifier()


def test_a_memory_that_leaves_out_the_length_of_the_session_identifier_would_not_see_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_hello, "_recall_or_parse", trusting_the_first_layout({}))
    with pytest.raises(AssertionError):
        check_a_hello_hidden_in_a_session_identifier()


def trusting_the_first_layout(hellos: dict[tuple[bytes, ...], ClientHello]) -> Callable[[bytes], ClientHello]:
    """A memory that takes every message for one that is laid out as the first one was."""
    layouts: list[tuple[slice, ...]] = []

    def recall(message: bytes) -> ClientHello:
        layouts.append(client_hello._parts_read(message))
        first, _, *others = layouts[0]
        key = tuple(message[part] for part in (first, *others))
        return hellos.setdefault(key, client_hello._parse_message(message))

    return recall


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: dict[tuple[int, bytes], client_hello._Shape] = {}
    monkeypatch.setattr(client_hello, "_shapes", shapes)
    for length in range(1, 100):
        for number in range(100):
            read(build_client_hello(f"{number:02}{'a' * length}.test"[-60:], seed=number))
    read(build_client_hello(size=4000))
    assert 0 < len(shapes) <= 64
    assert all(len(shape.hellos) <= 64 for shape in shapes.values())
    assert all(length <= 2048 for length, _ in shapes)


def check_nothing_else_escapes(parse_any: Parser, data: bytes) -> None:
    with contextlib.suppress(MalformedClientHello):
        answer = parse_any(data)
        assert answer is None or isinstance(answer, ClientHello)


@given(damaged_hellos())
def test_damaged_hellos_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    check_nothing_else_escapes(parse, data)


def test_the_damage_finds_a_parser_that_trusts_a_length() -> None:
    def trusting(data: bytes) -> object:
        return parse(data) if data[43] == 32 else data[43 + len(data)]

    with pytest.raises(IndexError):
        UNSHRUNK(given(damaged_hellos())(lambda data: check_nothing_else_escapes(trusting, data)))()


def check_the_name_survives(parse_any: Parser, name: str, fragment: int) -> None:
    hello = parse_any(build_client_hello(name, fragment=fragment))
    assert isinstance(hello, ClientHello)
    assert hello.server_name == name


@given(NAMES, st.integers(1, 300))
def test_the_name_that_went_in_comes_out(name: str, fragment: int) -> None:
    check_the_name_survives(parse, name, fragment)


def test_the_property_of_names_catches_a_parser_that_forgets_what_came_in_a_second_record() -> None:
    def without_later_records(data: bytes) -> object:
        first = 5 + int.from_bytes(data[3:5], "big")
        return parse(data[:first] + bytes(len(data) - first))

    with pytest.raises((AssertionError, MalformedClientHello)):
        UNSHRUNK(
            given(NAMES, st.integers(1, 300))(
                lambda name, fragment: check_the_name_survives(without_later_records, name, fragment)
            )
        )()
