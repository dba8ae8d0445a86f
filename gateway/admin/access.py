"""Who may do what on the admin port.

Without a token: loopback peers only, and only under a local Host, so that a web page cannot reach it through a name
that resolves to 127.0.0.1 (DNS rebinding). A token that is presented must be right. Whatever changes something needs
the token.
"""

import hmac
import re
from enum import StrEnum
from pathlib import Path

from starlette.requests import HTTPConnection

from gateway.model.addresses import parse_address
from gateway.model.errors import ConfigError

TOKEN_BYTES = 4096

_LOCAL_HOST = re.compile(r"(?:127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_BEARER = re.compile(r"Bearer +(\S+)", re.ASCII | re.IGNORECASE)


class Access(StrEnum):
    """What a request may do."""

    CHANGE = "change"  # with the token
    READ = "read"  # it comes from this machine
    NONE = "none"


class TokenFile:
    """The admin token, read again when its file changes (another inode, size or time; symbolic links are followed)."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigError` for a file that cannot be read or holds no token."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = b""
        try:
            self._refresh()
        except OSError as error:
            raise ConfigError(str(path), f"admin.token_file: {error.strerror}") from error
        if not self._token:
            raise ConfigError(str(path), "admin.token_file: is empty")

    def matches(self, presented: str) -> bool:
        """In constant time; `presented` is header text, Latin-1. While the file is missing or empty nothing matches."""
        try:
            self._refresh()
        except OSError:
            return False
        return bool(self._token) and hmac.compare_digest(presented.encode("latin-1"), self._token)

    def _refresh(self) -> None:
        status = self._path.stat()
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            with self._path.open("rb") as file:
                self._token = file.read(TOKEN_BYTES).strip()
            self._seen = seen


def access_of(request: HTTPConnection, token: TokenFile | None) -> Access:
    """What this request may do on a listener that serves everything."""
    presented = request.headers.getlist("authorization")
    if presented:
        return Access.CHANGE if token is not None and _shows(presented, token) else Access.NONE
    peer = request.client.host if request.client else ""
    return Access.READ if is_loopback(peer) and _names_this_machine(request) else Access.NONE


def is_loopback(host: str) -> bool:
    """Whether this is a literal loopback address."""
    address = parse_address(host)
    return address is not None and address.is_loopback


def _shows(presented: list[str], token: TokenFile) -> bool:
    credentials = _BEARER.fullmatch(presented[0]) if len(presented) == 1 else None
    return credentials is not None and token.matches(credentials[1])


def _names_this_machine(request: HTTPConnection) -> bool:
    hosts = request.headers.getlist("host")
    return len(hosts) == 1 and _LOCAL_HOST.fullmatch(hosts[0]) is not None
