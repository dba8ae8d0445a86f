"""Who somebody is: nobody is served as a user without that user's password, and nobody's word about himself counts."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model.reasons import Reason
from gateway.wire.proxy_protocol import build_proxy_header
from tests.abuse.case import Case, Need, Stage, get, refused, send
from tests.abuse.complaint import Complaint, escape
from tests.fuzz.faulty import LOOPBACK, PROXY_VERSIONS
from tests.helpers.http_client import ResponseReader

URL = "http://users.test:<web>/secret"
_INVALID, _MISSING = Reason.CREDENTIALS_INVALID, Reason.CREDENTIALS_MISSING
_11_7 = "RFC 9110 section 11.7"


def _basic(text: str | bytes) -> str:
    return "Basic " + b64encode(text if isinstance(text, bytes) else text.encode()).decode()


RIGHT = _basic("ci:correct-horse")


def _unsigned_token() -> str:
    parts = (b'{"alg":"none","typ":"JWT"}', b'{"sub":"ci","exp":4102444800}')
    return "Bearer " + ".".join(b64encode(part).decode().rstrip("=") for part in parts) + "."


CREDENTIALS = tuple(
    refused(
        "identity",
        what,
        source,
        get(URL, *[f"Proxy-Authorization: {value}" for value in values], host="users.test:<web>"),
        (400, 401, 403, 407, 431),
        reason,
        Need.USERS,
    )
    for what, source, values, reason in (
        ("no credentials", _11_7, (), _MISSING),
        ("a wrong password", _11_7, (_basic("ci:wrong"),), _INVALID),
        ("an unknown user", "CVE-2026-32595 and kin", (_basic("nobody:correct-horse"),), _INVALID),
        ("an empty password", _11_7, (_basic("ci:"),), _INVALID),
        ("an empty user", _11_7, (_basic(":correct-horse"),), _INVALID),
        ("no colon", "RFC 7617 section 2", (_basic("ci"),), None),
        ("a user in capitals", "own", (_basic("CI:correct-horse"),), _INVALID),
        ("a password in capitals", "own", (_basic("ci:CORRECT-HORSE"),), _INVALID),
        ("a password and a blank", "own", (_basic("ci:correct-horse "),), _INVALID),
        ("a password and a NUL", "bcrypt ends at NUL", (_basic(b"ci:correct-horse\0x"),), None),
        (
            "a password of 100 bytes that begins right",
            "bcrypt takes 72 bytes",
            (_basic("ci:" + "correct-horse" * 8),),
            _INVALID,
        ),
        ("what is no Base64", "RFC 7617 section 2", ("Basic ***",), None),
        ("nothing behind the scheme", _11_7, ("Basic",), None),
        ("an empty field", _11_7, ("",), None),
        ("the right ones under another scheme", _11_7, (RIGHT.replace("Basic", "Digest"),), None),
        ("a token without signature", "RFC 8725 section 2.1", (_unsigned_token(),), None),
        ("right and wrong ones in two fields", "RFC 9110 section 5.3", (_basic("ci:wrong"), RIGHT), None),
        ("right and wrong ones in one field", "RFC 9110 section 5.3", (f"{_basic('ci:wrong')}, {RIGHT}",), None),
        ("credentials of 60 KB", "own", (_basic("ci:" + "x" * 45_000),), None),
    )
)

ASSERTED = tuple(
    refused(
        "identity", what, source, get(URL, *fields, host="users.test:<web>"), (400, 401, 403, 407), _MISSING, Need.USERS
    )
    for what, source, fields in (
        ("the right ones meant for the destination", _11_7, (f"Authorization: {RIGHT}",)),
        ("X-Forwarded-User", "CVE-2025-64484", ("X-Forwarded-User: ci",)),
        ("X_Forwarded_User with underscores", "CVE-2025-64484", ("X_Forwarded_User: ci", "X-Remote-User: ci")),
        ("X-Forwarded-For", "oauth2-proxy#3478", ("X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1")),
        ("Forwarded", "RFC 7239", ('Forwarded: for=127.0.0.1;by="ci"',)),
        ("credentials in a cookie", "own", (f"Cookie: Proxy-Authorization={RIGHT}",)),
    )
)

SENDERS = tuple(
    refused(
        "identity",
        f"a PROXY header of version {version} from a sender that nobody trusts",
        "minekube/gate#936",
        build_proxy_header(version, (LOOPBACK, 4000), (LOOPBACK, 80)) + get("http://allowed.test:<web>/x"),
        (0, 400, 403),
    )
    for version in PROXY_VERSIONS
)


@dataclass(frozen=True)
class _Removed:
    """The request passes, and what is meant for the proxy does not."""

    sent: bytes
    names: frozenset[bytes]

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        before = len(stage.world.web.requests)
        with stage.connect() as client:
            send(client, stage.filled(self.sent))
            ResponseReader(client).read()
        found = stage.world.ordinary(stage.proxy, stage.patience)
        for request in stage.world.web.requests[before:]:
            found += [escape(f"passed on: {name!r}") for name, _ in request.fields if name in self.names]
        return found


REMOVED = tuple(
    Case(
        "identity",
        what,
        source,
        get("http://allowed.test:<web>/x", *fields),
        "an answer; the destination does not see the field",
        _Removed(get("http://allowed.test:<web>/x", *fields, "Connection: close"), frozenset(names)),
    )
    for what, source, fields, names in (
        (
            "credentials for the proxy",
            "RFC 9110 section 11.7.2",
            (f"Proxy-Authorization: {RIGHT}",),
            {b"proxy-authorization"},
        ),
        (
            "credentials for the proxy that Connection names",
            "hop-by-hop abuse",
            (f"Proxy-Authorization: {RIGHT}", "Connection: proxy-authorization"),
            {b"proxy-authorization"},
        ),
        ("Proxy-Connection", "RFC 9110 section 7.6.1", ("Proxy-Connection: keep-alive",), {b"proxy-connection"}),
    )
)

CASES: tuple[Case, ...] = (*CREDENTIALS, *ASSERTED, *SENDERS, *REMOVED)
