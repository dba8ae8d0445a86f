"""All cases, and how a proxy is put through them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tests.abuse.case import Case, Need, Stage
from tests.abuse.complaint import Complaint, Kind, wrong_answer
from tests.abuse.families import (
    addresses,
    admin,
    exhaustion,
    faults,
    framing,
    hellos,
    hosts,
    http2,
    identity,
    inspected,
    names,
)

CASES: tuple[Case, ...] = (
    *hosts.CASES,
    *addresses.CASES,
    *names.CASES,
    *hellos.CASES,
    *framing.FRAMING_CASES,
    *framing.ANSWER_CASES,
    *http2.CASES,
    *inspected.CASES,
    *identity.CASES,
    *admin.CASES,
    *exhaustion.CASES,
    *faults.CASES,
)
AT_ONCE = 32


@dataclass(frozen=True)
class Outcome:
    """Of one case: what went otherwise than it should, and where it was played from. `skipped`: what it lacks."""

    case: Case
    complaints: tuple[Complaint, ...] = ()
    source: str | None = None
    skipped: str = ""

    @property
    def worst(self) -> Kind | None:
        """None: all as it should be."""
        kinds = {complaint.kind for complaint in self.complaints}
        return next((kind for kind in (Kind.ESCAPE, Kind.HEALTH, Kind.ANSWER) if kind in kinds), None)


def run(cases: Iterable[Case], stage: Stage, has: frozenset[Need], sources: bool = False) -> Iterator[Outcome]:
    """One after the other; then those that wait, many at once. `sources`: each from a loopback address of its own."""
    waiting = []
    for number, case in enumerate(cases):
        own = replace(stage, source=f"127.1.{number // 250}.{number % 250 + 1}") if sources else stage
        if lacking := case.needs - has:
            yield Outcome(case, skipped=f"needs {', '.join(sorted(lacking))}")
        elif case.waits:
            waiting.append((case, own))
        else:
            yield play(case, own)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(lambda each: play(*each), waiting)


def play(case: Case, stage: Stage) -> Outcome:
    """One case."""
    try:
        complaints = tuple(case.play(stage))
    except OSError as error:
        complaints = (wrong_answer(repr(error)),)
    return Outcome(case, complaints, stage.source)


def by_family(outcomes: Iterable[Outcome]) -> Mapping[str, Sequence[Outcome]]:
    """In the order of the suite."""
    families: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        families[outcome.case.family].append(outcome)
    return families
