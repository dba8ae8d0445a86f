"""htpasswd files: `user:hash` lines with bcrypt hashes. No message ever holds a hash."""

import re
from collections.abc import Mapping

from gateway.settings.problems import Problems

MAX_COST = 14
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)


def parse_users(text: str, file: str, problems: Problems) -> Mapping[str, bytes]:
    """Hashes by user name. Blank lines and lines that begin with `#` are ignored."""
    users: dict[str, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        user, _, hashed = entry.partition(":")
        problem = _problem(user, hashed) or ("is named twice" if user in users else "")
        if problem:
            problems.add(f"{file}:{number}", f"user {user!r} {problem}")
        users[user] = hashed.encode()
    return users


def _problem(user: str, hashed: str) -> str:
    if not user or not user.isprintable():
        return "is not a user name: a line is user:hash"
    found = _BCRYPT.fullmatch(hashed)
    if found is None:
        return "has no bcrypt hash: only bcrypt is accepted, make one with htpasswd -B"
    if not 4 <= int(found[1]) <= MAX_COST:
        return f"has a bcrypt cost of {int(found[1])}: only 4 to {MAX_COST} are accepted, as every log-in pays it"
    return ""
