"""What the first bytes of a tunnel are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.wire.client_hello import ClientHelloParser, MalformedClientHello, parse_client_hello
from gateway.wire.opening import parse_opening
from tests.helpers.client_hello import build_client_hello
from tests.wire.feeding import UNSHRUNK, check_every_prefix_waits, check_the_first_answer_stands

LIMIT = 64 * 1024


def parse(data: bytes, limit: int = LIMIT) -> Opening | None:
    return parse_opening(data, ClientHelloParser(limit))


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (b"GET / HTTP/1.1\r\n", Protocol.HTTP),
        (b"M-SEARCH ", Protocol.HTTP),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol.HTTP),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol.TCP),
        (b"PING\r\n", Protocol.TCP),
        (b"\0", Protocol.TCP),
        (b" GET", Protocol.TCP),
        (b"\r\nGET / HTTP/1.1", Protocol.TCP),
        (b"\x80\x2e\x01\x00\x02", Protocol.TCP),
        (b"\x16\x02\x00", Protocol.TCP),
        (b"x" * 33, Protocol.TCP),
        (b"x" * 32 + b" ", Protocol.HTTP),
        (b"x" * 33 + b" ", Protocol.TCP),
    ],
)
def test_the_first_bytes_tell(data: bytes, protocol: Protocol) -> None:
    assert parse(data) == Opening(protocol)


@pytest.mark.parametrize("data", [b"", b"G", b"GET", b"\x16", b"\x16\x03", b"x" * 32])
def test_what_may_still_become_several_things_waits(data: bytes) -> None:
    assert parse(data) is None


def test_a_tls_opening_carries_its_hello() -> None:
    data = build_client_hello("a.test")
    assert parse(data) == Opening(Protocol.TLS, parse_client_hello(data, LIMIT))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\x00\x00", Reason.MALFORMED_CLIENT_HELLO),
        (build_client_hello(size=1800), Reason.CLIENT_HELLO_TOO_LARGE),
    ],
)
def test_a_hello_that_is_none_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedClientHello) as caught:
        parse(data, 1000)
    assert caught.value.reason is reason


@given(st.integers(1, 600), st.sampled_from(["a.test", None]))
def test_feeding_a_hello_byte_by_byte_gives_the_same_opening(fragment: int, name: str | None) -> None:
    check_every_prefix_waits(parse, build_client_hello(name, fragment=fragment))


@given(st.binary(min_size=33, max_size=50).filter(lambda data: data[0] != 0x16) | st.from_regex(rb"[A-Z]{1,20} /\Z"))
def test_feeding_anything_else_byte_by_byte_gives_the_same_opening(data: bytes) -> None:
    check_the_first_answer_stands(parse, data)


def test_the_feeding_property_catches_a_parser_that_does_not_wait_for_the_end_of_a_method() -> None:
    def hasty(data: bytes) -> object:
        return Opening(Protocol.TCP) if data and b" " not in data else parse(data)

    with pytest.raises(AssertionError):
        UNSHRUNK(given(st.from_regex(rb"[A-Z]{1,20} /\Z"))(lambda data: check_the_first_answer_stands(hasty, data)))()
