"""Files that hold one secret each. No message ever holds a character of it."""

import re
from pathlib import Path

from gateway.model.inspection.secret import Secret
from gateway.settings.problems import BadValue
from gateway.settings.source.files import unreadable

LONGEST = 16 * 1024
SHORTEST_TO_SCRUB = 8
"""Bytes: a shorter secret would be masked where the same text occurs by chance."""

_VALUE = re.compile(r"[!-~](?:[ -~\t]*[!-~])?")


def read_secret(path: Path, scrub: bool) -> Secret:
    """The value without the final line break, fit for a header (RFC 9110 section 5.5). Raises `BadValue` that says why
    not."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 2)
    except (OSError, ValueError) as refusal:
        raise unreadable(refusal) from refusal
    value = content.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
    if not value:
        raise BadValue("is empty")
    if len(value) > LONGEST:
        raise BadValue(f"is larger than {LONGEST >> 10} KiB")
    if _VALUE.fullmatch(value) is None:
        raise BadValue("is not one line of printable ASCII without blanks at its ends")
    if scrub and len(value) < SHORTEST_TO_SCRUB:
        raise BadValue(f"is too short to scrub: it needs at least {SHORTEST_TO_SCRUB} characters")
    return Secret(value, scrub)
