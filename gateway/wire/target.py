"""The target of a request to a proxy (RFC 9112 section 3.2): the host it names, and what is asked of it.

The head's parser has checked that it is visible ASCII. User information and fragments are refused: no client has reason
to send either, and what one server drops another may read.
"""

import re
from typing import NamedTuple

from gateway.model.authority import Authority, parse_authority
from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

HTTP_PORT, HTTPS_PORT = 80, 443

_ABSOLUTE = re.compile(r"http(s?)://([^/?#]*+)([^#]*+)", re.IGNORECASE)
_HTTPS = re.compile(r"https://", re.IGNORECASE)


class MalformedTarget(Malformed):
    """Not a target that is forwarded."""


class Target(NamedTuple):
    """`resource` is sent to the destination: origin form with query, or `*`. `authority` None: not named."""

    authority: Authority | None
    resource: str

    @property
    def path(self) -> str:
        """Without the query, which may hold secrets."""
        return self.resource.partition("?")[0]


def parse_target(target: str, method: str, is_secure: bool = False) -> Target:
    """Absolute form or, without an authority, origin form and `*`. `is_secure`: it came inside TLS, where `https://` is
    an origin's absolute form. Raises `MalformedTarget`."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or (match[1] and not is_secure):
        return Target(None, _parse_resource(target, method))
    secure, place, resource = match.groups()
    authority = parse_authority(place, HTTPS_PORT if secure else HTTP_PORT)
    if authority is None:
        what = "user information in the target" if "@" in place else "the target's host or port"
        raise MalformedTarget(Reason.MALFORMED_AUTHORITY, what)
    if resource[:1] != "/":  # `http://host?query`, and RFC 9112 section 3.2.4 for OPTIONS
        resource = "*" if method == "OPTIONS" and not resource else f"/{resource}"
    return Target(authority, resource)


def _parse_resource(target: str, method: str) -> str:
    if "#" in target:
        raise MalformedTarget(Reason.MALFORMED_REQUEST, "a fragment in the target")
    if target[:1] == "/" or (target == "*" and method == "OPTIONS"):
        return target
    if _HTTPS.match(target):
        raise MalformedTarget(Reason.HTTPS_WITHOUT_CONNECT, "https:// in absolute form")
    raise MalformedTarget(Reason.NOT_A_PROXY_REQUEST, f"{method[:20]} that names no http:// URL")
