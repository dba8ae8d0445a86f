"""Host names as the wire may spell them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import names
from gateway.model.names import parse_host_name

LONGEST_LABEL = "a" * 63
LONGEST_NAME = ".".join([LONGEST_LABEL, LONGEST_LABEL, LONGEST_LABEL, "b" * 61])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("ALLOWED.Test", "allowed.test"),
        ("forbidden.test.", "forbidden.test"),
        ("foo_bar.wild.test", "foo_bar.wild.test"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("3com.wild.test", "3com.wild.test"),
        ("a--b.wild.test", "a--b.wild.test"),
        ("-a-.test", "-a-.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("single", "single"),
        ("1.2.3.4.test", "1.2.3.4.test"),
        ("0xg", "0xg"),
        ("1a", "1a"),
        (f"{LONGEST_LABEL}.test", f"{LONGEST_LABEL}.test"),
        (LONGEST_NAME, LONGEST_NAME),
        (LONGEST_NAME + ".", LONGEST_NAME),
    ],
)
def test_a_name_is_lower_cased_and_loses_one_trailing_dot(text: str, name: str) -> None:
    assert parse_host_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "allowed.test..",
        ".allowed.test",
        "a..b",
        f"{LONGEST_LABEL}a.test",
        "a" + LONGEST_NAME,
        "forbidden%2etest",
        "%66orbidden.test",
        "bücher.test",
        "аllowed.test",  # noqa: RUF001 - a Cyrillic letter
        "\u212aelvin.test",  # lower() turns the Kelvin sign into an ASCII k
        "allowed。test",
        "allowed.test\x00.evil.test",
        "allowed.test\n",
        "allowed.test ",
        " allowed.test",
        "allowed.test\t",
        "user@allowed.test",
        "allowed.test:443",
        "allowed.test/",
        "[allowed.test]",
        "a,b.test",
        "*.test",
        "a\\b.test",
        "127.1",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0X7F000001",
        "0x",
        "example.0x1f",
        "example.123",
        "example.123.",
        "017700000001",
    ],
)
def test_every_other_spelling_is_malformed(text: str) -> None:
    assert parse_host_name(text) is None


LABELS = st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True)


@given(st.lists(LABELS, min_size=1, max_size=4).map(".".join), st.sampled_from(["", "."]))
def test_all_spellings_of_one_name_are_that_name(name: str, dot: str) -> None:
    assert parse_host_name(name.upper() + dot) == parse_host_name(name)


@given(st.text(max_size=40))
def test_what_is_accepted_is_its_own_canonical_form(text: str) -> None:
    name = parse_host_name(text)
    if name is not None:
        assert parse_host_name(name) == name
        assert 1 <= len(name) <= 253
        assert name.isascii()
        assert name == name.lower()
        assert all(1 <= len(label) <= 63 for label in name.split("."))


def test_what_is_too_long_for_a_name_is_not_remembered() -> None:
    """A ClientHello has room for 60,000 bytes of it, and thousands of texts are remembered."""
    before = names._parse_host_name.cache_info().currsize
    assert [parse_host_name(f"{number}{'a' * 60_000}") for number in range(10)] == [None] * 10
    assert names._parse_host_name.cache_info().currsize == before
