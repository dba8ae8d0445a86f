"""The whole of the contract's table, on a policy written by hand."""

import pytest

from gateway.model.decision import Terms
from gateway.model.inspection.terms import Inspection
from gateway.model.intent import Protocol
from gateway.policy.index import Rules
from gateway.policy.rules import Mode
from tests.policy.builders import NOW, SNI_ANY, SNI_RULE, build, deny, group, networks, rule
from tests.policy.precedence import ROWS, Row, play


@pytest.fixture(scope="module")
def rules() -> Rules:
    return build(
        group("a", cidr="10.0.1.0/24"),
        group("b", cidr="10.0.0.0/16"),
        group("r", cidr="10.9.0.0/16", mode=Mode.REPORT),
        group("e", cidr="10.9.9.0/24", mode=Mode.ENFORCE),
        rule("web", "*", ports=(80, 443)),
        rule("example", "*.example.com", terms=Terms(inspection=Inspection())),
        rule("pinned", "pinned.example.com"),
        rule("family", "*.fam.test", terms=SNI_RULE),
        rule("fam-x", "x.fam.test"),
        rule("loose", "loose.test", terms=SNI_ANY),
        rule("one", "1.depth.test", ports=(9443,)),
        rule("deep", "*.depth.test", ports=(9443,)),
        rule("gh-a", "github.test", clients="a"),
        rule("gh-b", "github.test", clients="b"),
        rule("db", cidrs="10.1.0.0/16", ports=(5432,), protocol=Protocol.TCP),
        rule("api-ip", cidrs="192.0.2.0/24"),
        deny("no-paste", ".paste.test"),
        deny("no-range", cidrs="198.51.100.0/24"),
        rule("meta", "imds.test", ports=(80,), terms=Terms(private=networks("169.254.169.254/32"))),
        allow="203.0.113.0/24",
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_contract_holds(row: Row, rules: Rules) -> None:
    outcome = play(row, rules, NOW)
    assert {name: getattr(outcome, name) for name in row.expected} == dict(row.expected)


def test_every_row_of_the_table_is_played() -> None:
    assert {int(row.id.split()[0]) for row in ROWS} == set(range(1, 33))
