"""JA4 against the vectors of its specification, and against a second, plain reading of it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.client_hello import parse_client_hello
from gateway.wire.ja4 import ja4
from tests.helpers.client_hello import (
    ALPN,
    SIGNATURE_ALGORITHMS,
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
from tests.wire.feeding import UNSHRUNK

# The example that the specification works through.
CIPHERS = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
EXTENSIONS = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
FINGERPRINT = "t13d1516h2_8daaf6152771_e5627efa2ab1"


def hexadecimal(text: str) -> list[int]:
    return [int(each, 16) for each in text.split(",")]


def test_the_example_of_the_specification() -> None:
    found = ja4(TLS13, hexadecimal(CIPHERS), hexadecimal(EXTENSIONS), b"h2", SIGNATURE_ALGORITHMS)
    assert found == FINGERPRINT


def test_the_example_of_the_specification_as_a_hello_with_grease() -> None:
    contents = {
        0: server_name_extension(b"a.test")[1],
        ALPN: vector(b"\x02h2\x08http/1.1", 2),
        SIGNATURES: vector(numbers(SIGNATURE_ALGORITHMS), 2),
        VERSIONS: vector(numbers((0x5A5A, TLS13, TLS12)), 1),
    }
    kinds = [0x2A2A, *hexadecimal(EXTENSIONS), 0xDADA]
    start = numbers((TLS12,)) + bytes(32) + b"\0"
    start += vector(numbers([0x9A9A, *hexadecimal(CIPHERS)]), 2) + b"\x01\0"
    hello = parse_client_hello(in_records(build_message(start, [(k, contents.get(k, b"")) for k in kinds])), 4096)
    assert hello is not None
    assert hello.ja4 == FINGERPRINT


def test_without_signature_algorithms_there_is_no_underscore() -> None:
    assert ja4(TLS13, [0x1301], hexadecimal(EXTENSIONS), b"h2", ()).endswith("_6d807ffa2a79")


def test_what_is_empty_is_shown_as_zeros() -> None:
    assert ja4(TLS12, [0x0A0A], [0, 16], b"", ()) == "t12d000200_000000000000_000000000000"


@pytest.mark.parametrize(
    ("version", "shown"),
    [(0x0304, "13"), (0x0303, "12"), (0x0302, "11"), (0x0301, "10"), (0x0300, "s3"), (0x0002, "s2"), (0x7F1C, "00")],
)
def test_versions(version: int, shown: str) -> None:
    assert ja4(version, [1], [1], b"", ())[1:3] == shown


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        (b"", "00"),
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
        (b"h-", "6d"),
    ],
)
def test_ends_of_the_first_protocol(protocol: bytes, shown: str) -> None:
    assert ja4(TLS13, [1], [1], protocol, ())[8:10] == shown


def test_counts_stop_at_99() -> None:
    assert ja4(TLS13, range(1, 150), range(1, 120), b"", ())[4:8] == "9999"


def by_the_letter(ciphers: list[int], versions: list[int], alpn: list[str], name: str | None) -> str:
    """The specification in the order of its sections, for what `build_client_hello` builds."""
    grease = {f"{digit}a{digit}a" for digit in "0123456789abcdef"}
    suites = sorted({f"{each:04x}" for each in ciphers} - grease)
    kinds = ["000a", "000d", "0033"] + (["002b"] if versions else [])
    meant = [each for each in versions if f"{each:04x}" not in grease] if versions else [TLS12]
    version = {TLS13: "13", TLS12: "12", 0x0301: "10"}[max(meant)] if meant else "00"
    count = len(kinds) + (1 if name else 0) + (1 if alpn else 0)
    ends = alpn[0][0] + alpn[0][-1] if alpn else "00"
    tail = ",".join(sorted(kinds)) + "_" + ",".join(f"{each:04x}" for each in SIGNATURE_ALGORITHMS)
    hashes = [hashlib.sha256(text.encode()).hexdigest()[:12] for text in (",".join(suites), tail)]
    if not suites:
        hashes[0] = "0" * 12
    return f"t{version}{'d' if name else 'i'}{len(suites):02d}{count:02d}{ends}_{hashes[0]}_{hashes[1]}"


OFFERS = st.tuples(
    st.lists(st.sampled_from([0x1301, 0x1302, 0xC02B, 0x002F, 0x00FF, 0x0A0A, 0xFAFA]), min_size=1, unique=True),
    st.lists(st.sampled_from([TLS13, TLS12, 0x0301, 0x2A2A]), unique=True),
    st.lists(st.sampled_from(["h2", "http/1.1", "dot"]), unique=True),
    st.sampled_from([None, "a.test"]),
)

Offer = tuple[list[int], list[int], list[str], str | None]


def check_fingerprint(offer: Offer, ignore_alpn: bool = False) -> None:
    ciphers, versions, alpn, name = offer
    hello = parse_client_hello(build_client_hello(name, alpn, ciphers=ciphers, versions=versions), 4096)
    assert hello is not None
    assert hello.ja4 == by_the_letter(ciphers, versions, [] if ignore_alpn else alpn, name)


@given(OFFERS)
def test_a_plain_reading_of_the_specification_agrees(offer: Offer) -> None:
    check_fingerprint(offer)


def test_the_comparison_catches_a_reading_that_forgets_alpn() -> None:
    with pytest.raises(AssertionError):
        UNSHRUNK(given(OFFERS)(lambda offer: check_fingerprint(offer, ignore_alpn=True)))()
