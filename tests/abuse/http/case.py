"""What a case is, and the few words in which the tables write requests.

`<port>` in what is sent stands for the origin's port. `allowed.test` and `other.test` are allowed there,
`users.test` only
to users, `denied.test` is denied, `forbidden.test` is not listed; all of them lead to the same origin.
"""

from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.helpers.recording_origin import Answer

Reached = tuple[str, bytes]
"""Method and target as the origin should see them, and the content without framing."""

NAME = "abuse.test"
"""The gateway's own, in Proxy-Status and Via."""


@dataclass(frozen=True, slots=True)
class Case:
    """Before each segment of `sent` but the first a response is awaited. Exactly the requests in `reached` arrive at
    the origin, complete; `cut`: the beginning of one more does, whose content was wrong. The client is `told`
    these final statuses, `reason` stands in a record. `goes_on`: another request may follow on the same connection.
    """

    name: str
    source: str
    sent: tuple[bytes, ...]
    told: tuple[int, ...]
    reached: tuple[Reached, ...] = ()
    reason: Reason | None = None
    goes_on: bool = False
    cut: bool = False
    answers: tuple[Answer, ...] = ()
    bodiless: bool = False
    is_whole: bool = True
    upgrades: bool = False


def head(line: str, *fields: str, host: str | None = "allowed.test:<port>") -> bytes:
    """A request head: `GET /path` is completed to absolute form and a version."""
    method, _, target = line.partition(" ")
    if target.startswith("/"):
        line = f"{method} http://allowed.test:<port>{target}"
    if not line.endswith(("HTTP/1.0", "HTTP/1.1")):
        line += " HTTP/1.1"
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(*fields: str, content: bytes = b"", path: str = "/post") -> bytes:
    return head(f"POST {path}", *fields) + content


def chunked(content: bytes, *fields: str, path: str = "/post") -> bytes:
    return post("Transfer-Encoding: chunked", *fields, content=content, path=path)


SMUGGLED = head("GET /smuggled")
INNER = b"GET http://allowed.test/smuggled HTTP/1.1\r\nHost: allowed.test\r\n\r\n"  # of a length that is known
POSTED: Reached = ("POST /post", b"hello")
EMPTY_POST: Reached = ("POST /post", b"")


def malformed(name: str, source: str, *sent: bytes, reason: Reason = Reason.MALFORMED_REQUEST, told: int = 400) -> Case:
    """Refused before anything left the gateway, and nothing more is read from that client."""
    return Case(name, source, sent, (told,), reason=reason)


def spoilt(name: str, source: str, *sent: bytes, reason: Reason = Reason.MALFORMED_REQUEST) -> Case:
    """The head is good, what follows is not: the origin never gets a whole request."""
    return Case(name, source, sent, (400,), reason=reason, cut=True)


def passes(name: str, source: str, *sent: bytes, reached: tuple[Reached, ...] = (POSTED,)) -> Case:
    """Legal, if unusual: every request arrives whole, and the connection takes another."""
    return Case(name, source, sent, (200,) * len(reached), reached, goes_on=True)
