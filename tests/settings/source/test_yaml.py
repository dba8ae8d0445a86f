"""Strict YAML 1.2: what 1.1 would have made of a text is not what comes out, and every place is known."""

from textwrap import dedent
from typing import Any

import pytest
import yaml as pyyaml

from gateway.settings.problems import ConfigErrors
from gateway.settings.source.places import show_path
from gateway.settings.source.yaml import MAX_DEPTH, parse_yaml, resolve_scalar


def read(text: str) -> Any:
    return parse_yaml(text, "file.yaml").data


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as refusal:
        parse_yaml(dedent(text), "file.yaml")
    return [str(problem) for problem in refusal.value.problems]


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "no",
        "on",
        "off",
        "Yes",
        "NO",
        "y",
        "n",
        "1:30",
        "190:20:30",
        "2027-01-31",
        "2027-01-31T10:00:00Z",
        "0b11",
        "1_000",
        "0o",
        "0o8",
        "0xg",
        "tRue",
        "nUll",
        "1e",
        ".e1",
        "<<",
        "=",
        "+",
        "-.",
        "..inf",
    ],
)
def test_words_that_yaml_1_1_converts_stay_text(word: str) -> None:
    assert read(f"key: {word}") == {"key": word}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-7", -7),
        ("+3", 3),
        ("010", 10),  # decimal in the core schema, 8 in YAML 1.1
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
    ],
)
def test_the_core_schema_knows_null_booleans_and_numbers(written: str, value: object) -> None:
    found = read(f"key: {written}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert str(resolve_scalar(".nan")) == "nan"


def test_an_enormous_number_stays_text_instead_of_costing_time() -> None:
    assert resolve_scalar("9" * 5000) == "9" * 5000


@pytest.mark.parametrize("quoted", ['"true"', "'10'", '"~"'])
def test_quotes_make_text(quoted: str) -> None:
    assert read(f"key: {quoted}") == {"key": quoted[1:-1]}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff", "~"])
def test_an_empty_document_is_an_empty_mapping(text: str) -> None:
    assert read(text.lstrip("\ufeff")) == {}


def test_yes_and_on_are_fine_as_keys() -> None:
    assert read("on: 1\nyes: 2\n<<: 3") == {"on": 1, "yes": 2, "<<": 3}


def test_every_key_and_item_has_its_line() -> None:
    document = parse_yaml("# top\nrules:\n  - name: a\n    hosts: [x,\n      y]\n  - {name: b}\n", "file.yaml")
    assert document.place(("rules",)) == "file.yaml:2: rules"
    assert document.place(("rules", 0)) == "file.yaml:3: rules[0]"
    assert document.place(("rules", 0, "hosts")) == "file.yaml:4: rules[0].hosts"
    assert document.place(("rules", 0, "hosts", 1)) == "file.yaml:5: rules[0].hosts[1]"
    assert document.place(("rules", 1, "name")) == "file.yaml:6: rules[1].name"


def test_what_is_missing_has_the_place_of_what_is_around_it() -> None:
    document = parse_yaml("a: 1\nrules:\n  - name: x\n", "file.yaml")
    assert document.place(("rules", 0, "hosts", 3)) == "file.yaml:3: rules[0].hosts[3]"
    assert document.place(("nowhere",)) == "file.yaml:1: nowhere"
    assert document.place(()) == "file.yaml:1"


def test_keys_that_would_be_ambiguous_are_quoted_in_a_path() -> None:
    assert show_path(("clients", "a.b", 'c"d', 0, "plain-key_1")) == 'clients["a.b"]["c\\"d"][0].plain-key_1'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3: a: duplicate key, first on line 1"),
        (
            "rules:\n  - name: a\n  - name: b\n    x: {y: 1, y: 2}\n",
            "file.yaml:4: rules[1].x.y: duplicate key, first on line 4",
        ),
        ("a: &anchor 1\n", "file.yaml:1: a: the anchor &anchor is not allowed: write the value out"),
        ("a: !!str 1\n", "file.yaml:1: a: the tag tag:yaml.org,2002:str is not allowed"),
        ("a:\n  - !thing {b: 1}\n", "file.yaml:2: a[0]: the tag !thing is not allowed"),
        ("a: ! x\n", "file.yaml:1: a: the tag ! is not allowed"),
        ("443: x\n", 'file.yaml:1: the key 443 is not text: put it in quotes, "443"'),
        ("a:\n  true: x\n", 'file.yaml:2: a: the key true is not text: put it in quotes, "true"'),
        ("? [a]\n: b\n", "file.yaml:1: a key must be text"),
        ("? {a: b}\n: b\n", "file.yaml:1: a key must be text"),
        ("a: 1\n---\nb: 2\n", "file.yaml:2: a second document begins here: a file holds one"),
        ("%YAML 1.1\n---\na: yes\n", "file.yaml:1: directives other than %YAML 1.2 are not allowed"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "file.yaml:1: directives other than %YAML 1.2 are not allowed"),
        ("- a\n- b\n", "file.yaml:1: must be a mapping of keys to values"),
        ("word\n", "file.yaml:1: must be a mapping of keys to values"),
        ("a: 1\n# b\nc: x\x07y\n", "file.yaml:3: the character U+0007 is not allowed"),
        ("a: # hidden\u2028b: 1\n", "file.yaml:1: the character U+2028 is not allowed"),
        ("a: 1\nb: [1\nc: 2\n", "file.yaml:3: not valid YAML: "),
        ("a: {b: 1\nc: 2\n", "file.yaml:2: not valid YAML: while parsing a flow mapping that begins on line 1, "),
        ("a:\n\t- b\n", "file.yaml:2: not valid YAML: a tab, "),
        ("a: [*.b.example]\n", "file.yaml:1: not valid YAML: text that begins with a star needs quotes, "),
        ("a: \0\n", "file.yaml:1: the character U+0000 is not allowed"),
    ],
)
def test_what_is_refused_names_its_place(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


@pytest.mark.parametrize(
    ("text", "place", "cure"),
    [
        (
            "a: b\n  c: d\n",
            "file.yaml:2",
            "compare the indentation with the lines above, and put text with a colon in quotes",
        ),
        ("a:\n  b: c\n d: e\n", "file.yaml:3", "compare the indentation with the lines above"),
        ("a:\n  - b: c\n   d: e\n", "file.yaml:3", "compare the indentation with the lines above"),
        ("a: b\nc\nd: e\n", "file.yaml:3", "after a key come a colon and a blank"),
    ],
)
def test_what_to_do_about_a_line_in_the_wrong_place_is_said(text: str, place: str, cure: str) -> None:
    (said,) = problems(text)
    assert said.startswith(f"{place}: not valid YAML: ")
    assert said.endswith(f": {cure}")


def test_an_alias_is_refused_together_with_its_anchor() -> None:
    assert problems("a: &x [1]\nb:\n  - c\n  - *x\n") == [
        "file.yaml:1: a: the anchor &x is not allowed: write the value out",
        "file.yaml:4: b[1]: the alias *x is not allowed: write the value out",
    ]


def test_a_bomb_of_aliases_is_refused_without_being_built() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert len(problems("\n".join(lines))) == 60 + 118


def test_depth_is_bounded() -> None:
    assert read("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    assert problems("a: " + "[" * 100_000) == [
        f"file.yaml:1: a{'[0]' * (MAX_DEPTH - 1)}: nested deeper than {MAX_DEPTH} levels"
    ]


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.settings.source.yaml.MAX_CHARACTERS", 3)
    assert problems("a: 1")[0].startswith("file.yaml: larger than")


def test_all_problems_are_told_not_only_the_first() -> None:
    assert len(problems("a: 1\na: 2\nb: &x 1\nc: !!int 3\n")) == 3


def test_the_parser_in_python_gives_the_same_as_the_one_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "rules:\n  - {name: a, ports: [443, 8000-8100], x: 010}\n  - name: 'b'\n"
    fast = parse_yaml(text, "file.yaml")
    monkeypatch.setattr("gateway.settings.source.yaml._Loader", pyyaml.SafeLoader)
    slow = parse_yaml(text, "file.yaml")
    assert slow.data == fast.data
    assert slow.place(("rules", 1, "name")) == fast.place(("rules", 1, "name"))
