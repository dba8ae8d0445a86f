"""The question that `explain` answers, as values that `decide` judges: a URL into an intent, a name into a client."""

import re

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import parse_authority
from gateway.model.client import Client, IdentitySource
from gateway.model.inspection.terms import Asked
from gateway.model.intent import Door, Intent, Protocol
from gateway.policy.rules import Match, Policy
from gateway.settings.hosts import to_ascii
from gateway.settings.problems import BadValue

LOOPBACK = Address(4, 0x7F000001)


class Unanswerable(Exception):
    """The question is invalid; the text says why."""


class Unreached(Exception):
    """Policy allows it, but it could not be reached; the printed stages show how far it came."""


def parse_question(url: str, method: str | None) -> Intent:
    """`https://host`, `host:port` and `host` ask for a tunnel (default port 443), `http://host` for a request (80)."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if scheme.lower() not in ("", "http", "https"):
        raise Unanswerable(f"{url!r}: a URL must be http:// or https://")
    plain = scheme.lower() == "http"
    try:
        authority = parse_authority(to_ascii(re.split(r"[/?#]", rest, maxsplit=1)[0]), 80 if plain else 443)
    except BadValue as refusal:
        raise Unanswerable(str(refusal)) from refusal
    if authority is None:
        raise Unanswerable(f"{url!r} has no valid host and port: the gateway would answer 400")
    if plain and (method or "").upper() != "CONNECT":
        return Intent(Door.ABSOLUTE_FORM, authority, Protocol.HTTP)
    return Intent(Door.CONNECT, authority)


def parse_request(url: str, method: str | None) -> Asked | None:
    """The request, without content, that is finally made, inside a tunnel or not; None for a tunnel alone."""
    name = (method or "GET").upper()
    if name == "CONNECT":
        return None
    path = re.sub(r"^[^/?#]*|[?#].*$", "", url.partition("://")[2] or url)
    return Asked(name, path or "/")


def parse_client(name: str | None, address_text: str | None, policy: Policy) -> Client:
    """A client with the facts of a group's first `match` entry if `name` is a group, else a user; `address_text` takes
    precedence over the group's address."""
    address = parse_address(address_text) if address_text is not None else None
    if address_text is not None and address is None:
        raise Unanswerable(f"--from: {address_text!r} is not an address")
    if name is None:
        return Client(address or LOOPBACK)
    group = next((group for group in policy.groups if group.name == name), None)
    if group is None:
        return Client(address or LOOPBACK, IdentitySource.BASIC, user=name)
    return _member(group.match[0], address)


def _member(match: Match, address: Address | None) -> Client:
    return Client(
        address=address or _address_in(match),
        source=_source(match),
        user=match.user,
        namespace=match.namespace,
        service_account=match.service_account,
        labels=dict(match.labels) or None,
        namespace_labels=dict(match.namespace_labels) or None,
        spiffe=f"{match.spiffe[:-1]}any" if match.spiffe and match.spiffe.endswith("/*") else match.spiffe,
    )


def _address_in(match: Match) -> Address:
    return LOOPBACK if match.cidr is None else Address(match.cidr.version, match.cidr.value)


def _source(match: Match) -> IdentitySource:
    if match.spiffe is not None:
        return IdentitySource.MTLS
    if match.user is not None:
        return IdentitySource.BASIC
    return IdentitySource.KUBERNETES if match.namespace or match.namespace_labels else IdentitySource.ADDRESS
