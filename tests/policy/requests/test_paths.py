"""Paths against what origins may read in them, and patterns against a matcher written from the contract's sentences."""

from unicodedata import normalize
from urllib.parse import quote

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.policy.requests.paths import AmbiguousPath, PathPattern, PathSet, parse_path_pattern, read_path
from tests.helpers.costs import cpu_seconds


def matches(pattern: str, path: str) -> bool:
    return bool(PathSet([parse_path_pattern(pattern)]).match_all(read_path(path)))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/", ["/"], ["/a", "/a/", "/."]),
        ("/a", ["/a", "/%61"], ["/", "/./a", "/a/", "/A", "/a/b", "/b/../a"]),
        ("/a/", ["/a/"], ["/a", "/a/b"]),
        ("/a/*", ["/a/b", "/a/%20"], ["/a", "/a/", "/a/b/", "/a/b/c"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c", "/a/b/"], ["/a", "/ab", "/a/../b"]),
        ("/**", ["/", "/a", "/a/"], []),
        ("/**/x", ["/x", "/a/x", "/a/b/x"], ["/x/", "/xx", "/a"]),
        ("/a/**/x/*", ["/a/x/1", "/a/b/x/x/1"], ["/a/x", "/a/x/"]),
        ("/a/**/**", ["/a/", "/a/b"], ["/a"]),
        ("/caf%c3%a9", ["/caf%C3%A9", "/c%61f%c3%a9"], ["/cafe"]),
        ("/a%2Bb", ["/a%2bb"], ["/a+b"]),
        ("/~u", ["/%7Eu"], []),
    ],
)
def test_a_pattern_matches_whole_segments(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in yes if not matches(pattern, path)] == []
    assert [path for path in no if matches(pattern, path)] == []


@pytest.mark.parametrize("path", ["/open/../shut", "/open/%2e%2E/shut", "/shut/../open/x", "/open/x/../../shut/x"])
def test_dot_segments_lead_nowhere_that_one_of_both_readings_may_not_go(path: str) -> None:
    assert not matches("/open/**", path)


def test_dot_segments_that_stay_inside_are_no_offence() -> None:
    assert matches("/open/**", "/open/a/../b")
    assert read_path("/a/./b/../../..").removed == ("",)


@pytest.mark.parametrize(
    "path",
    [
        "*",
        "",
        "a",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/a\\b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%00",
        "/a%0d%0a",
        "/a%7f",
        "/a%3fb",
        "/a%23b",
        "/a%252fb",
        "/%252e%252e/b",
        "/%25%32e%25%32%65/b",
        "/%252%65%252%45/b",
        "/a%25%32%66b",
        "/a%c0%af",
        "/%c0%ae%c0%ae/b",
        "/a%e0%80%af",
        "/a%ff",
        "/a%ed%a0%80",
        "/a%ef%bc%8fb",
        "/%ef%bc%8e%ef%bc%8e/b",
        "/%e2%80%a5/b",
        "/a/..;/b",
        "/a/.;x=1/b",
        "/a/;x/b",
        "/a/..%3b/b",
        "/a/%2e%2e;x/b",
        "/a/%ef%bc%8e%ef%bc%8e;x/b",
        "/a/%e2%80%a5%3bx/b",
    ],
)
def test_what_origins_read_in_different_ways_matches_nothing(path: str) -> None:
    with pytest.raises(AmbiguousPath) as doubt:
        read_path(path)
    assert path not in str(doubt.value) or path in ("", "a", "*")


@pytest.mark.parametrize("path", ["/a;v=1/b", "/100%25", "/a%25", "/.well-known/x", "/a.b/..c", "/%e2%82%ac", "/a:b@c"])
def test_what_is_only_unusual_is_read(path: str) -> None:
    assert matches("/**", path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "begins with a slash"),
        ("", "begins with a slash"),
        ("*", "begins with a slash"),
        ("/a?b", "is a path without query: those are not looked at"),
        ("/a*", "a star stands for whole segments: * for one, ** for any number"),
        ("/***", "a star stands for whole segments: * for one, ** for any number"),
        ("/a/../b", "has no dot segments: say what is left of it"),
        ("/caf\u00e9", "is written in ASCII, everything else in escapes (%C3%A9)"),
        ("/a b", "is written in ASCII, everything else in escapes (%C3%A9)"),
        ("/a//b", "an empty segment"),
        ("/a%2fb", "an escaped separator or control character"),
    ],
)
def test_a_pattern_that_could_never_match_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".*") as refusal:
        parse_path_pattern(text)
    assert str(refusal.value) == problem


WITHOUT_SHRINKING = (Phase.generate,)
SEGMENTS = st.sampled_from(["a", "b", "c"])
PATTERNS = st.lists(st.one_of(SEGMENTS, st.sampled_from(["*", "**"])), min_size=1, max_size=6)
PATHS = st.lists(st.one_of(SEGMENTS, st.just("d")), max_size=7).map(
    lambda segments: [*segments, ""][: len(segments) or 1]
)


def naive_match(pattern: list[str], path: list[str]) -> bool:
    """By trying everything."""
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        least = 0 if rest else 1
        return any(naive_match(rest, path[taken:]) for taken in range(least, len(path) + 1))
    fits = bool(path) and (path[0] == first or (first == "*" and path[0] != ""))
    return fits and naive_match(rest, path[1:])


class NothingForStars(PathSet):
    """The planted fault: `**` in the middle stands for at least one segment."""

    def _skipping(self, state: int) -> int:
        return state


def check_against_naive(kind: type[PathSet]) -> None:
    @settings(phases=WITHOUT_SHRINKING)
    @given(st.lists(PATTERNS, min_size=1, max_size=5), PATHS)
    def agrees(patterns: list[list[str]], path: list[str]) -> None:
        parsed = [parse_path_pattern("/" + "/".join(pattern)) for pattern in patterns]
        paths = kind(parsed)
        found = paths.match(tuple(path))
        for pattern, accepts in zip(patterns, paths.accepts, strict=True):
            assert bool(found & accepts) == naive_match(pattern, path), (pattern, path)

    agrees()


def test_all_patterns_at_once_say_what_each_says_alone() -> None:
    check_against_naive(PathSet)


def test_the_comparison_would_catch_a_matcher_that_errs() -> None:
    with pytest.raises(AssertionError):
        check_against_naive(NothingForStars)


@given(st.text(alphabet="/.;%25cfeCAab\\*", max_size=30))
def test_any_text_is_read_or_doubted(text: str) -> None:
    try:
        readings = read_path("/" + text)
    except AmbiguousPath:
        return
    assert ".." not in readings.removed
    assert "" not in readings.written[:-1]
    again = read_path("/" + "/".join(readings.written))
    assert again == readings, "reading is the same the second time"


def test_time_grows_with_the_path_and_not_with_its_repetitions() -> None:
    patterns = PathSet([PathPattern((*("**", "a") * 20, "b"))] * 3)

    def seconds(segments: int) -> float:
        path = ("a",) * segments
        assert not patterns.match(path)
        return cpu_seconds(lambda: patterns.match(path))

    assert seconds(20_000) < 40 * max(seconds(2_000), 0.001)


def test_marks_upon_marks_are_read_in_time_that_grows_with_their_number() -> None:
    """Unicode has them put in order; a run of ten thousand took its square, which was 0.2 s."""

    def seconds(marks: int) -> float:
        path = "/a" + quote("\u0315" * marks + "\u0323" * marks + "\u0f73" * marks)
        return cpu_seconds(lambda: read_path(path))

    assert seconds(4_000) < 40 * max(seconds(400), 0.001)


@given(st.text(alphabet="a/.;<\u0338\u0323\u0301\u037e\u2024\uff0f\u2025\u1fef\u0f73", max_size=12))
def test_letters_by_themselves_show_what_they_show_together(text: str) -> None:
    """Marks make no separators, nor dots."""
    together, apart = normalize("NFKC", text), "".join(normalize("NFKC", each) for each in text)
    assert [together.count(each) for each in "/\\%;?#"] == [apart.count(each) for each in "/\\%;?#"]
    assert [part in (".", "..") for part in together.split("/")] == [part in (".", "..") for part in apart.split("/")]
