"""What went otherwise than it should, and how bad that is."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How bad it is."""

    ESCAPE = "escape"  # something reached whom it should not, or came back from there
    ANSWER = "answer"  # nothing did, but the client was told something else than it should, or nothing in time
    HEALTH = "health"  # the proxy does not serve others any more


class Complaint(NamedTuple):
    """One thing that went otherwise than it should."""

    kind: Kind
    text: str


def escape(text: str) -> Complaint:
    return Complaint(Kind.ESCAPE, text)


def wrong_answer(text: str) -> Complaint:
    return Complaint(Kind.ANSWER, text)


def unhealthy(text: str) -> Complaint:
    return Complaint(Kind.HEALTH, text)
