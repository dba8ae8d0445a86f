"""squid.conf as words."""

import pytest

from gateway.migrate.findings import Unreadable
from gateway.migrate.sources.squid.lines import MAX_CHARACTERS, entries, read_lines, read_with_included, with_quoting


def test_comments_quotes_and_continued_lines() -> None:
    text = '# head\nacl a src 10.0.0.1 \\\n  10.0.0.2 # two\n\nacl b dstdomain "/etc/my list" x.test\n'
    first, second = read_lines(text, "squid.conf")
    assert (first.place, first.words) == ("squid.conf:2", ("acl", "a", "src", "10.0.0.1", "10.0.0.2"))
    assert (second.words[3], second.quoted) == ("/etc/my list", frozenset({3}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acl a src \\\n# old \\\n  10.0.0.2\nx y\n", [(1, "acl a src 10.0.0.2"), (4, "x y")]),
        ("acl a src \\\n\n  10.0.0.2\n", [(1, "acl a src 10.0.0.2")]),
        ("# old \\\nx y\n", [(2, "x y")]),
        ("x one\\\n  two\n", [(1, "x onetwo")]),
        ("# caf\x85x y\u2028x y\x0cx y\rx y\n", []),
        ("x y\u00a0z\r\n", [(1, "x y\u00a0z")]),
    ],
    ids=["comment in it", "empty line in it", "continued comment", "no blank", "ends of Unicode", "blanks of Unicode"],
)
def test_lines_are_continued_as_squid_continues_them(text: str, expected: list[tuple[int, str]]) -> None:
    """Each was tried with squid 5.7."""
    found = [(line.place, " ".join(line.words)) for line in read_lines(text, "f")]
    assert found == [(f"f:{number}", words) for number, words in expected]


def test_entries_of_a_file_are_read_as_squid_reads_them() -> None:
    [line] = read_lines("acl b dstdomain x.test 'list' z.test\n", "f")
    text = "a.test#1\r\n b.test # 2\nc.test\u2028d.test\n#e.test\n"
    found = [value for _, value in entries(line, 3, {"list": text}.__getitem__)]
    assert found == ["x.test", "a.test#1", "b.test", "c.test\u2028d.test"]


def test_a_quoted_word_is_a_file_with_an_entry_a_line() -> None:
    [line] = read_lines('acl b dstdomain x.test "list"\n', "squid.conf")
    found = list(entries(line, 3, {"list": "a.test\n# none\nb.test # two\n"}.__getitem__))
    assert found == [("squid.conf:1", "x.test"), ("list:1", "a.test"), ("list:3", "b.test")]


def test_where_quoted_values_are_on_files_are_spelled_otherwise() -> None:
    text = 'acl a dstdomain "list" parameters("l 2")\n'
    on, off = "configuration_includes_quoted_values on\n", "configuration_includes_quoted_values off\n"
    lines = list(with_quoting(read_lines(text + on + text + off + text, "squid.conf")))
    told = [(line.words[3:], line.quoted) for line in lines if line.words[0] == "acl"]
    usual = ("list", 'parameters("l 2")'), frozenset({3})
    assert told == [usual, (("list", "l 2"), frozenset({4})), usual]


def test_a_large_file_is_refused() -> None:
    with pytest.raises(Unreadable, match="larger than 16 MiB"):
        list(read_lines("#" * (MAX_CHARACTERS + 1), "squid.conf"))


FILES = {"a.conf": "acl a src 10.0.0.1\ninclude more/*\n", "b.conf": "acl b src 10.0.0.2\n"}


def found(pattern: str) -> list[str]:
    return {"conf.d/*": ["a.conf", "b.conf"], "loop.conf": ["loop.conf"]}.get(pattern, [])


def test_lines_of_included_files_stand_in_the_place_of_their_include() -> None:
    text = "http_port 3128\ninclude conf.d/* gone.conf\nhttp_access deny all\n"
    lines = list(read_with_included(text, "squid.conf", FILES.__getitem__, found))
    assert [line.place for line in lines] == ["squid.conf:1", "a.conf:1", "a.conf:2", "b.conf:1", "squid.conf:3"]
    assert lines[2].words == ("include", "more/*")  # it names nothing: whoever looks for it will find it


def test_a_file_that_includes_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^loop\.conf:1: includes are nested more than 16 deep"):
        list(read_with_included("include loop.conf\n", "squid.conf", lambda _: "include loop.conf\n", found))
