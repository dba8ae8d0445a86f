"""Credentials: `Basic` and `Bearer` of a Proxy-Authorization header (RFC 7617, RFC 6750), well formed, of another
scheme, or refused; and the SPIFFE ID in a certificate."""

import binascii
import re
from dataclasses import dataclass, field

from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

MAX_ENCODED = 4096
"""Characters of the base64 text, and of a token: long enough for a token in the place of a password."""

_END = r"(?![A-Za-z0-9!#$%&'*+.^_`|~-])"  # of a scheme's name (RFC 9110 section 5.6.2)
_BASIC = re.compile(rf"basic{_END}(.*)", re.IGNORECASE | re.DOTALL)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BEARER = re.compile(rf"bearer{_END}(.*)", re.IGNORECASE | re.DOTALL)
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]++=*+", re.ASCII)
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+", re.ASCII)
_MAX_SPIFFE_ID = 2048
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class MalformedCredentials(Malformed):
    """The scheme is the right one, but what follows is malformed."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.CREDENTIALS_INVALID, detail)


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """Unverified. The password stays out of the representation."""

    user: str
    password: str = field(repr=False)


def parse_basic(value: str) -> BasicCredentials | None:
    """The credentials in a header's value; None if its scheme is another. Raises `MalformedCredentials`."""
    match = _BASIC.fullmatch(value)
    if match is None:
        return None
    encoded = match[1].lstrip(" ")
    if len(encoded) > MAX_ENCODED or (encoded and encoded == match[1]) or not _BASE64.fullmatch(encoded):
        raise MalformedCredentials(f"Basic credentials that are not base64 of at most {MAX_ENCODED} characters")
    try:
        text = binascii.a2b_base64(encoded).decode("utf-8")
    except UnicodeDecodeError:  # not chained: the cause would carry what the client sent
        raise MalformedCredentials("Basic credentials that are not UTF-8") from None
    user, colon, password = text.partition(":")
    if not colon or _CONTROL.search(text):
        raise MalformedCredentials("Basic credentials without a colon or with control characters")
    return BasicCredentials(user, password)


def parse_bearer(value: str) -> str | None:
    """The token in a header's value (RFC 6750 section 2.1); None if its scheme is another. Raises
    `MalformedCredentials`."""
    match = _BEARER.fullmatch(value)
    if match is None:
        return None
    token = match[1].lstrip(" ")
    if len(token) > MAX_ENCODED or match[1] == token or not _B64TOKEN.fullmatch(token):
        raise MalformedCredentials(f"Bearer credentials that are no token of at most {MAX_ENCODED} characters")
    return token


def parse_spiffe_id(uri: str) -> str | None:
    """The ID of a workload, `spiffe://trust-domain/path`; None if it is invalid (SPIFFE-ID sections 2.1 to 2.3:
    lower-case trust domain, no empty or dot segments, at most 2,048 bytes)."""
    return uri if len(uri) <= _MAX_SPIFFE_ID and _SPIFFE_ID.fullmatch(uri) else None
