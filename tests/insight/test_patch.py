"""Rules put into texts: every line of before is still there, in order, and the result loads."""

import difflib

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from gateway.insight.learn import Proposal, Workload
from gateway.insight.patch import NotAppendable, patched, quoted
from tests.insight.records import policy_of

PROPOSAL = Proposal("a.example", 8443, None, False, (Workload("user", "ci"),), ["a.example", "*.b.example"])
GROUPS = {Workload("user", "ci"): "user-ci"}
TEXTS = {
    "empty": "",
    "rules at the margin": "version: 1\nrules:\n- name: x\n  hosts: [x.example]\n# the end\n",
    "rules in the middle": (
        "version: 1\nrules:   # all\n    - name: x # one\n      hosts:\n        - x.example\n\n# groups\n"
        "clients:\n    old: {match: [{user: old}]}   # him\n\nmode: report\n"
    ),
    "no line end": "rules:\n  - {name: x, hosts: [x.example]}",
    "windows": "version: 1\r\nrules:\r\n  - {name: x, hosts: [x.example]}\r\n",
    "no rules": "# nothing yet\nversion: 1\nmode: report\n",
    "folded": "rules:\n  - name: x\n    note: >\n      some\n\n      - text\n    hosts: [x.example]\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_lines_are_added_and_none_is_changed(text: str) -> None:
    result = patched(text, [PROPOSAL], ["learned"], GROUPS, {"user-ci"})
    before, after = text.splitlines(), result.splitlines()
    assert [line for line in difflib.ndiff(before, after) if line.startswith("-")] == []
    assert ("\r\n" in text) == ("\r\n" in result)
    policy = policy_of(result)
    old = [] if not text or "rules" not in text else ["x"]
    assert [rule.name for rule in policy.rules] == [*old, "learned"]
    assert "user-ci" in [group.name for group in policy.groups]


def test_without_proposals_nothing_changes() -> None:
    assert patched("rules: []\n", [], [], {}, set()) == "rules: []\n"


@pytest.mark.parametrize(
    "text", ["rules: []\n", "rules :  [ ]   # none yet\nclients: {}\n", "clients: { }\nrules:\t[]\n"]
)
def test_a_list_that_is_written_as_empty_gets_entries(text: str) -> None:
    result = patched(text, [PROPOSAL], ["learned"], GROUPS, {"user-ci"})
    policy = policy_of(result)
    assert [rule.name for rule in policy.rules] == ["learned"]
    assert [group.name for group in policy.groups] == ["user-ci"]
    assert ("# none yet" in text) == ("# none yet" in result)


def test_a_list_in_one_line_is_not_rewritten() -> None:
    with pytest.raises(NotAppendable, match="rules: is written in one line"):
        patched("rules: [{name: x, hosts: [x.example]}]\n", [PROPOSAL], ["learned"], {}, set())


def test_a_remark_stays_a_comment_whatever_a_client_called_itself() -> None:
    proposal = Proposal("a.example", 443, None, False, (), ["a.example"], [], {"a.example": ["by x\n  - evil.example"]})
    policy = policy_of(patched("", [proposal], ["learned"], {}, set()))
    assert [pattern.name for rule in policy.rules for pattern in rule.hosts] == ["a.example"]


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_whatever_is_quoted_is_read_as_the_same_text(text: str) -> None:
    assert yaml.safe_load(f"[{quoted(text)}]") == [text]


def test_the_property_catches_a_writer_that_does_not_quote() -> None:
    @hypothesis.settings(phases=[hypothesis.Phase.generate], report_multiple_bugs=False)
    @hypothesis.given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def planted(text: str) -> None:
        assert yaml.safe_load(f"[{text}]") == [text]

    with pytest.raises((AssertionError, yaml.YAMLError)):
        planted()
