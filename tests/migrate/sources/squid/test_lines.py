"""squid.conf as words."""

import pytest

from gateway.migrate.findings import Unreadable
from gateway.migrate.sources.squid.lines import MAX_CHARACTERS, entries, read_lines


def test_comments_quotes_and_continued_lines() -> None:
    text = '# head\nacl a src 10.0.0.1 \\\n  10.0.0.2 # two\n\nacl b dstdomain "/etc/my list" x.test\n'
    first, second = read_lines(text, "squid.conf")
    assert (first.place, first.words) == ("squid.conf:2", ("acl", "a", "src", "10.0.0.1", "10.0.0.2"))
    assert (second.words[3], second.quoted) == ("/etc/my list", frozenset({3}))


def test_a_quoted_word_is_a_file_with_an_entry_a_line() -> None:
    [line] = read_lines('acl b dstdomain "list" x.test\n', "squid.conf")
    found = list(entries(line, 3, {"list": "a.test\n# none\nb.test # two\n"}.__getitem__))
    assert found == [("list:1", "a.test"), ("list:3", "b.test"), ("squid.conf:1", "x.test")]


def test_a_large_file_is_refused() -> None:
    with pytest.raises(Unreadable, match="larger than 16 MiB"):
        list(read_lines("#" * (MAX_CHARACTERS + 1), "squid.conf"))
