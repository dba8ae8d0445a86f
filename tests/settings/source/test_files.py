"""Lists of a million entries, and what is told of those that are none; files that change."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.settings.hosts import parse_host_entry
from gateway.settings.problems import Problems
from gateway.settings.source.files import MOST_REPORTED, parse_list, stamp


def test_of_a_list_in_another_form_the_beginning_is_told_and_how_much_follows() -> None:
    problems = Problems()
    text = "good.test\n" + "a,b\n" * 100_000 + "other.test\n"
    taken = [entry.text for _, entry in parse_list(text, "feed.txt", parse_host_entry, problems, quotes=True)]
    assert taken == ["good.test", "other.test"]
    assert len(problems.found) == MOST_REPORTED + 1
    assert str(problems.found[-1]) == "feed.txt: has 99900 more invalid entries"


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_permission_that_is_taken_or_given_is_a_change() -> None:
    """Nothing else about the file tells it, so whoever waits for a change would wait for ever."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "key")
        file.write_text("value")
        stamps = []
        for mode in (0o644, 0, 0o644):
            file.chmod(mode)
            with nobody():
                stamps.append(stamp(file))
    assert stamps[0] == stamps[2] is not None
    assert stamps[1] is None
