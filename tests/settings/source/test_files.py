"""Lists of a million entries, and what is told of those that are none."""

from gateway.settings.hosts import parse_host_entry
from gateway.settings.problems import Problems
from gateway.settings.source.files import MOST_REPORTED, parse_list


def test_of_a_list_in_another_form_the_beginning_is_told_and_how_much_follows() -> None:
    problems = Problems()
    text = "good.test\n" + "a,b\n" * 100_000 + "other.test\n"
    taken = [entry.text for _, entry in parse_list(text, "feed.txt", parse_host_entry, problems, quotes=True)]
    assert taken == ["good.test", "other.test"]
    assert len(problems.found) == MOST_REPORTED + 1
    assert str(problems.found[-1]) == "feed.txt: has 99900 more invalid entries"
