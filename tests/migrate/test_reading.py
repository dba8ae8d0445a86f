"""YAML of strangers: read with its lines, bounded, and nothing of it is executed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Unreadable
from gateway.migrate.reading import MAX_CHARACTERS, MAX_DEPTH, Node, read_documents


def only(text: str) -> Node:
    [document] = read_documents(text, "x.yaml")
    return document


def test_documents_keep_their_lines() -> None:
    first, second = read_documents("a: 1\n---\n\n---\nb:\n  - c\n  - {d: e}\n", "x.yaml")
    assert (first.place, first.get("a").text()) == ("x.yaml:1", "1")
    assert [node.place for node in second.get("b").items()] == ["x.yaml:6", "x.yaml:7"]
    assert second.get("b").items()[1].at("d").text() == "e"


def test_plain_scalars_are_numbers_truth_or_text() -> None:
    node = only('{a: 443, b: "443", c: true, d: yes, e: 010, f: ~, g: 1.5, h: no}')
    values = [node.get(key).value for key in "abcdefgh"]
    assert values == [443, "443", True, "yes", "010", None, "1.5", "no"]


def test_what_is_not_there_is_nothing() -> None:
    node = only("a: {b: }\n")
    assert node.at("a", "b", "c").value is None
    assert node.get("x").items() == []
    assert node.get("x").text_or("usual") == "usual"
    assert node.others("a") == []


def test_an_alias_is_what_it_stands_for() -> None:
    node = only("a: &x [one, two]\nb: *x\n")
    assert [each.text() for each in node.get("b").items()] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "x.yaml:2: not valid YAML"),
        ("a: 1\na: 2\n", "x.yaml:2: the key a stands here twice"),
        ("a: *x\n", "x.yaml:1: the alias .x stands for nothing"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "x.yaml:3: merge keys are not read"),
        ("[" * (MAX_DEPTH + 1), f"x.yaml:1: nested more than {MAX_DEPTH} deep"),
        ("a: [1]\n{}: 2\n", "x.yaml:2:"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(Unreadable, match="^" + message):
        read_documents(text, "x.yaml")


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(Unreadable, match="holds more than"):
        read_documents("\n".join(lines), "x.yaml")


def test_an_alias_inside_of_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="stands for nothing"):
        read_documents("a: &a [*a]\n", "x.yaml")


def test_a_large_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Unreadable, match="larger than 16 MiB"):
        read_documents("#" * (MAX_CHARACTERS + 1), "x.yaml")


@pytest.mark.parametrize("reader", [Node.mapping, Node.items, Node.text])
def test_a_value_of_another_kind_is_refused_with_its_place(reader: object) -> None:
    values = {Node.mapping: "a: [1]", Node.items: "a: {b: 1}", Node.text: "a: true"}
    with pytest.raises(Unreadable, match=r"^x\.yaml:1: must be"):
        reader(only(values[reader]).get("a"))  # type: ignore[index,operator]  # the three above


def test_a_tag_makes_nothing() -> None:
    assert only("a: !!python/object/apply:os.system [ls]").get("a").items()[0].text() == "ls"


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Unreadable):
        read_documents(text, "x.yaml")
