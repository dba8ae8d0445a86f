"""The published suite: the gateway keeps every case, and its records say why."""

from collections import Counter

import pytest

from tests.abuse.bed import Bed
from tests.abuse.case import Case
from tests.abuse.suite import CASES

RECORDED = [case for case in CASES if case.reason is not None]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.timeout(400)
def test_the_gateway_keeps_it(gateway: Bed, case: Case) -> None:
    outcome = gateway.outcome(case)
    assert (outcome.complaints, outcome.skipped) == ((), "")


@pytest.mark.parametrize("case", RECORDED, ids=[case.id for case in RECORDED])
def test_the_record_says_why(gateway: Bed, case: Case) -> None:
    assert gateway.reasons(gateway.outcome(case)) == {case.reason}


def test_there_are_enough_and_each_has_an_id_and_a_source_of_its_own() -> None:
    assert [name for name, count in Counter(case.id for case in CASES).items() if count > 1] == []
    assert [case.id for case in CASES if not (case.source and case.expected)] == []
    families = Counter(case.family for case in CASES if not case.is_control)
    assert len(families) >= 10
    assert min(families.values()) >= 8, families
    assert families.total() >= 120
