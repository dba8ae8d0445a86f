"""Masking in pieces is the same as masking the whole, and never changes a length."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.policy.requests.scrubbing import Scrubber

WITHOUT_SHRINKING = (Phase.generate,)
SECRETS = st.lists(st.text("ab", min_size=1, max_size=5).map(str.encode), min_size=1, max_size=3)
PIECES = st.lists(st.text("abc", max_size=6).map(str.encode), max_size=8)


def passed(scrubber: Scrubber, pieces: list[bytes]) -> list[bytes]:
    return [*(scrubber.feed(piece) for piece in pieces), scrubber.finish()]


def check_nothing_gets_through(kind: type[Scrubber]) -> None:
    @settings(phases=WITHOUT_SHRINKING)
    @given(SECRETS, PIECES)
    def nothing_gets_through(secrets: list[bytes], pieces: list[bytes]) -> None:
        whole = b"".join(pieces)
        told = b"".join(passed(kind(secrets), pieces))
        assert len(told) == len(whole)
        assert all(one == other or one == ord("*") for one, other in zip(told, whole, strict=True))
        assert not any(secret in told for secret in secrets)
        assert told == Scrubber(secrets).mask(whole)

    nothing_gets_through()


class Forgetful(Scrubber):
    """The planted fault: nothing is held back."""

    def feed(self, data: bytes) -> bytes:
        return self.mask(data)


def test_one_that_begins_like_another_hides_no_part_of_it() -> None:
    scrubber = Scrubber([b"token-12", b"token-12-and-more"])
    told = passed(scrubber, [b"<token-12", b"-and-more> <token-12", b">"])
    assert b"".join(told) == b"<*****************> <********>"


def test_of_two_that_overlap_both_are_masked() -> None:
    secrets = [b"abcdefgh", b"efghijkl-long"]
    assert Scrubber(secrets).mask(b"abcdefghijkl-long") == b"*" * 17
    assert b"".join(passed(Scrubber(secrets), [b"abcdefgh", b"ijkl", b"-long"])) == b"*" * 17
    assert b"".join(passed(Scrubber(secrets), [b"abcdefgh", b"ijkl", b"?"])) == b"*" * 8 + b"ijkl?"


def test_no_secret_gets_through_however_it_is_cut() -> None:
    check_nothing_gets_through(Scrubber)


def test_the_check_would_catch_one_that_is_cut_in_two() -> None:
    with pytest.raises(AssertionError):
        check_nothing_gets_through(Forgetful)


def test_what_cannot_become_a_secret_goes_on_at_once() -> None:
    scrubber = Scrubber([b"secret-value"])
    assert passed(scrubber, [b"hello", b" se", b"ason secret", b"-value!"]) == [
        b"hello",
        b" ",
        b"season ",
        b"************!",
        b"",
    ]


@pytest.mark.parametrize("shorter", [b"abc", b"bcd", b"def"])
def test_of_a_secret_that_holds_another_one_nothing_is_left(shorter: bytes) -> None:
    for secrets in ([shorter, b"abcdef"], [b"abcdef", shorter]):
        assert Scrubber(secrets).mask(b"an abcdef!") == b"an ******!"


@pytest.mark.parametrize(
    ("secret", "pieces", "told"),
    [
        (b"aab", [b"xaa", b"b"], b"x***"),
        (b"aab", [b"a", b"a", b"ab"], b"a***"),
        (b"aabcd", [b"zaaa", b"bcd"], b"za*****"),
        (b"abab", [b"ab", b"abab"], b"******"),
        (b"aabaac", [b"aabaa", b"baac"], b"aab******"),
    ],
)
def test_what_may_begin_a_secret_in_more_than_one_place_is_held_back_from_the_first(
    secret: bytes, pieces: list[bytes], told: bytes
) -> None:
    assert b"".join(passed(Scrubber([secret]), pieces)) == told
