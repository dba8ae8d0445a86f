"""The proxy's own ports and pages: nobody gets there through it, acts there unasked, or is shown what he wrote."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.model.reasons import Reason
from tests.abuse.case import Case, Need, Stage, connect, get, refused, send
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.abuse.families.names import asked, leads_to
from tests.helpers.http_client import NotAResponse, ResponseReader

_THROUGH = "CVE-2025-23217 (mitmweb through its own proxy)"
_LOOP = "smokescreen#282; httpjail#85"
_NO_RULE = Reason.NO_RULE

THROUGH = tuple(
    refused("admin", what, source, sent, (400, 403, 502, 508), reason, Need.ADMIN)
    for what, source, sent, reason in (
        ("CONNECT to the admin port", _THROUGH, connect("127.0.0.1:<admin>"), _NO_RULE),
        ("CONNECT to the admin port of localhost", _THROUGH, connect("localhost:<admin>"), _NO_RULE),
        ("CONNECT to the admin port over IPv6", _THROUGH, connect("[::1]:<admin>"), _NO_RULE),
        ("CONNECT to the admin port of 0.0.0.0", "CVE-2025-24354", connect("0.0.0.0:<admin>"), _NO_RULE),
        ("metrics through the proxy", _THROUGH, get("http://127.0.0.1:<admin>/metrics"), _NO_RULE),
        ("the admin port of an allowed name", _THROUGH, get("http://allowed.test:<admin>/metrics"), _NO_RULE),
    )
) + tuple(
    refused("admin", what, source, sent, (400, 403, 502, 508), reason)
    for what, source, sent, reason in (
        ("CONNECT to the proxy itself", _LOOP, connect("127.0.0.1:<proxy>"), _NO_RULE),
        ("a GET of the proxy itself", _LOOP, get("http://127.0.0.1:<proxy>/"), _NO_RULE),
        ("the proxy's port of an allowed name", _LOOP, connect("allowed.test:<proxy>"), _NO_RULE),
    )
)

LOOPS = tuple(
    asked(
        f"a name that leads to the {what} as {address}",
        _LOOP,
        f"self{number}.wild.test",
        leads_to(address, name=f"self{number}.wild.test"),
        Reason.PROXY_LOOP,
        403,
        502,
        508,
        port=port,
    )
    for number, (what, port, address) in enumerate(
        (what, port, address)
        for what, port in (("proxy itself", "<proxy>"), ("admin port", "<admin>"))
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1")
    )
)


@dataclass(frozen=True)
class _NotShown:
    """A refusal that is no page: not HTML, or nothing of what was sent in it as it was."""

    sent: bytes
    mark: bytes

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        with stage.connect() as client:
            send(client, stage.filled(self.sent))
            try:
                answer = ResponseReader(client).read()
            except (NotAResponse, OSError) as error:
                return [wrong_answer(repr(error))]
        if answer is None or answer.status < 400:
            return [wrong_answer(f"told {answer.status if answer else 'nothing'}")]
        page = b"".join(answer.values(b"content-type"))
        if self.mark in answer.head:
            return [escape(f"in the head of the answer: {answer.head[:200]!r}")]
        return [escape("shown in a page")] if b"html" in page and self.mark in answer.content else []


_SCRIPT, _SECRET = b"<script>alert(1)</script>", b"hunter2secret"
PAGES = tuple(
    Case("admin", what, source, sent, "a refusal in which it is not shown as a page", _NotShown(sent, mark))
    for what, source, sent, mark in (
        ("a script as host", "tinyproxy 3764b85", get(f"http://{_SCRIPT.decode()}/"), _SCRIPT),
        ("a script as host of a CONNECT", "tinyproxy 3764b85", connect(f"{_SCRIPT.decode()}:443"), _SCRIPT),
        ("a script as path", "tinyproxy 3764b85", get(f"http://forbidden.test:<web>/{_SCRIPT.decode()}"), _SCRIPT),
        ("a script as method", "own", get("http://forbidden.test/").replace(b"GET", _SCRIPT), _SCRIPT),
        ("credentials in a URL", "CVE-2025-62168", get(f"http://ci:{_SECRET.decode()}@forbidden.test:<web>/"), _SECRET),
        (
            "a token in a query",
            "CVE-2025-62168",
            get(f"http://forbidden.test:<web>/?token={_SECRET.decode()}"),
            _SECRET,
        ),
    )
)


@dataclass(frozen=True)
class _Unasked:
    """Straight to the admin port, from one who may not: nothing is done, and he is told so."""

    sent: bytes
    told: tuple[int, ...]

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        assert stage.admin is not None
        with socket.create_connection(stage.admin, timeout=stage.patience) as client:
            send(client, stage.filled(self.sent))
            try:
                answer = ResponseReader(client).read()
            except (NotAResponse, OSError) as error:
                return [wrong_answer(repr(error))]
        status = answer.status if answer else 0
        found = [] if status in self.told else [wrong_answer(f"told {status}, not {self.told}")]
        return [*found, *stage.world.ordinary(stage.proxy, stage.patience)]


def _request(line: str, *fields: str) -> bytes:
    own = [] if any(field.startswith("Host") for field in fields) else ["Host: 127.0.0.1:<admin>"]
    return "\r\n".join([f"{line} HTTP/1.1", *own, *fields, "Content-Length: 0", "", ""]).encode()


_GUESSED = "Authorization: Bearer guessed"
_REFUSED = (400, 401, 403, 404, 405)
STRAIGHT = tuple(
    Case(
        "admin",
        what,
        source,
        sent,
        f"{'/'.join(map(str, told))}; nothing is done",
        _Unasked(sent, told),
        needs=frozenset({Need.ADMIN}),
    )
    for what, source, sent, told in (
        ("a reload without a token", "CVE-2026-47768", _request("POST /reload"), _REFUSED),
        ("a reload with a wrong token", "CVE-2026-47768", _request("POST /reload", _GUESSED), _REFUSED),
        ("a reload with the token in the URL", "CVE-2026-47768", _request("POST /reload?token=guessed"), _REFUSED),
        ("a reload by GET", "cross-site request forgery", _request("GET /reload"), _REFUSED),
        ("a restart without a token", "CVE-2026-47768", _request("POST /restart"), _REFUSED),
        ("closing a tunnel without a token", "CVE-2026-47768", _request("POST /tunnels/1/close"), _REFUSED),
        (
            "metrics for a page of somebody else",
            "DNS rebinding",
            _request("GET /metrics", "Host: evil.example"),
            _REFUSED,
        ),
        ("a file above the root", "path traversal", _request("GET /../../../../etc/passwd"), _REFUSED),
        ("a file above the root, encoded", "path traversal", _request("GET /%2e%2e/%2e%2e/etc/passwd"), _REFUSED),
        (
            "an absolute form on the admin port",
            "an open proxy by mistake",
            _request("GET http://allowed.test:<web>/x"),
            _REFUSED,
        ),
        (
            "a CONNECT on the admin port",
            "an open proxy by mistake",
            _request("CONNECT allowed.test:<web>"),
            (0, *_REFUSED),
        ),
    )
)

_LOOPS_OF_OURS = tuple(
    replace(case, needs=case.needs | {Need.ADMIN}) if b"<admin>" in case.sent else case for case in LOOPS
)

CASES: tuple[Case, ...] = (*THROUGH, *_LOOPS_OF_OURS, *PAGES, *STRAIGHT)
