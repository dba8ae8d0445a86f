"""values.schema.json is made from values.yaml, and keeps misspelt keys out."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from jsonschema import Draft7Validator

from helm.values_schema import UnknownType, as_text, needed_keys, schema_of
from tests.chart.rendering import CHART, template, with_values
from tests.helpers.pages import PAGES, Block, blocks

VALUES = (CHART / "values.yaml").read_text()


def test_the_schema_is_up_to_date() -> None:
    """`make chart` makes it anew."""
    assert (CHART / "values.schema.json").read_text() == as_text(schema_of(VALUES))


def test_so_is_the_list_of_what_the_templates_need() -> None:
    assert (CHART / "files" / "needed.txt").read_text().splitlines() == list(needed_keys(schema_of(VALUES)))


EXAMPLES = [
    block for page in PAGES for block in blocks(page, "yaml") if re.match("# (values|mine)\\.yaml\n", block.text)
]


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_values_in_the_pages_fit_the_schema(block: Block) -> None:
    Draft7Validator(schema_of(VALUES)).validate(yaml.safe_load(block.text))


MISFITS: list[dict[str, object]] = [
    {"replicas": 3},
    {"service__typ": "ClusterIP"},
    {"tls__certManager__issuer": {"name": "x"}},
    {"secrets": {"key": {"existingSecret": "x", "key": "k", "hosts": ["x.example"], "scrubs": True}}},
    {"service__type": "NodePort"},
    {"replicaCount": "two"},
    {"lock__namespaces": [""]},
    {"admin__key": ""},
    {"transparent__interfaces": ["cni0; rm"]},
    {"transparent__pass": ["kube-dns"]},
    {"proxyProtocolFrom": ["lb.example"]},
]


def test_a_value_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    tries = [("helm4", misfit) for misfit in MISFITS] + [("helm3", misfit) for misfit in MISFITS[:2]]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda each: template(each[0], *with_values(**each[1])), tries))
    for refused, misfit in zip(runs, tries, strict=True):
        assert refused.status != 0, misfit
        assert "don't meet the specifications of the schema" in refused.err, misfit
        assert refused.out == "", misfit


def test_types_come_from_the_defaults_and_the_rest_from_the_comments() -> None:
    schema = schema_of(
        "# Which.\n# @schema {enum: [a, b]}\nkind: a\nnumber: 1\n"
        "inner:\n  # Open.\n  # @schema {additionalProperties: true}\n  free: {}\n"
    )
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "kind": {"description": "Which.", "default": "a", "type": "string", "enum": ["a", "b"]},
        "number": {"default": 1, "type": "integer"},
        "inner": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "free": {"description": "Open.", "default": {}, "type": "object", "additionalProperties": True}
            },
        },
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: []\n", "line 2: b: a list must say what its items are"),
        ("a:\n  b: {}\n", "line 2: a.b: an empty mapping must say what may be in it"),
        ("a: null\n", "line 1: a: null has no type"),
        ("- a\n", "not a mapping"),
    ],
)
def test_a_key_whose_type_nothing_tells_is_an_error(text: str, message: str) -> None:
    with pytest.raises(UnknownType) as refusal:
        schema_of(text)
    assert str(refusal.value) == message


def test_needed_are_sections_and_what_has_a_default_that_null_would_take_away() -> None:
    schema = schema_of(
        "name: a\nempty: ''\nflag: false\n# @schema {type: [integer, 'null']}\nmaybe: 1\n"
        "# @schema {additionalProperties: true}\nopen: {a: 1}\n# @schema {items: {type: string}}\nsome: [a]\n"
        "inner:\n  # @schema {items: {type: string}}\n  none: []\n  number: 0\n"
    )
    assert list(needed_keys(schema)) == ["name", "flag", "some", "inner", "inner.number"]
