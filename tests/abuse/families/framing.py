"""Requests and answers on which two servers could disagree: the tables in `tests/abuse/http`, as cases of the suite."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.abuse.case import Case, Need, Stage
from tests.abuse.complaint import Complaint, escape, unhealthy, wrong_answer
from tests.abuse.http import case as http
from tests.abuse.http.connections import CONNECTIONS
from tests.abuse.http.framing import FRAMING
from tests.abuse.http.heads import HEADS
from tests.abuse.http.judge import judge
from tests.abuse.http.responses import RESPONSES

_ESCAPES = (
    "reached",
    "framing",
    "field line",
    "hosts",
    "Host",
    "left over",
    "evil",
    "forged",
    "request line",
    "for one",
    "length",
)
_USERS = ("credentials", "407")
_ATTACKS_THAT_PASS = (
    "Connection: ",
    "Proxy-Connection",
    "a request behind",
    "the target",
    "TRACE",
    "answer: two answers",
    "answer: an answer behind",
    "answer: content on",
    "answer: content for",
    "answer: our own fields",
    "answer: fields for one hop",
)
"""Beginnings of names: the request passes, what should not pass with it does not."""
_CUT_OFF = (
    "answer: content that ends early",
    "answer: content that is reset",
    "answer: chunks that end early",
    "answer: a chunk size of 17 digits",
)
"""Even a proxy that passes everything does right by them: the client sees the fault."""


@dataclass(frozen=True)
class _Judged:
    case: http.Case

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        told = judge(self.case, stage.proxy, stage.world.web, stage.patience, stage.source)
        return [_complaint(text) for text in told]


def _complaint(text: str) -> Complaint:
    if text.startswith(_ESCAPES):
        return escape(text)
    return unhealthy(text) if text.startswith("an ordinary") else wrong_answer(text)


def _is_control(case: http.Case) -> bool:
    return case.name in _CUT_OFF or (case.reason is None and not case.name.startswith(_ATTACKS_THAT_PASS))


def _case(family: str, case: http.Case) -> Case:
    reached = ", ".join(line for line, _ in case.reached) or "nothing"
    needs = {Need.NAME} if "our own" in case.name else set()
    needs |= {Need.USERS} if any(word in case.name for word in _USERS) else set()
    return Case(
        family,
        case.name.removeprefix("answer: "),
        case.source,
        b" ... ".join(case.sent if family == "framing" else [answer.data for answer in case.answers]),
        f"{'/'.join(map(str, case.told))}; {reached} arrives, and is written anew",
        _Judged(case),
        case.reason,
        frozenset(needs),
        is_control=_is_control(case),
    )


FRAMING_CASES = tuple(
    _case("framing", case) for case in (*FRAMING, *HEADS, *CONNECTIONS) if not case.name.startswith("answer: ")
)
ANSWER_CASES = tuple(_case("answers", case) for case in (*CONNECTIONS, *RESPONSES) if case.name.startswith("answer: "))
