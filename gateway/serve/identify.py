"""Who the client is: the sources of identity that an explicit proxy port has, tried in the configured order.

A source that finds no credential of its kind passes on; one that finds a credential it cannot accept ends the attempt:
a wrong password does not fall back to what the client's address may do.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol
from weakref import WeakValueDictionary

import bcrypt

from gateway.model.addresses import Address
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.decision import Deny
from gateway.model.errors import DownstreamError, GatewayError, Refused
from gateway.model.intent import Intent
from gateway.model.reasons import Reason
from gateway.model.roles import HeaderFields
from gateway.policy.challenge import WITHOUT_CREDENTIALS, would_credentials_help
from gateway.policy.index import Rules
from gateway.serve.workloads import Workloads
from gateway.wire.credentials import BasicCredentials, MalformedCredentials, parse_basic, parse_spiffe_id

CHECKS_AT_ONCE = 4
REMEMBERED = 10_000  # verdicts about credentials: bcrypt is slow on purpose, and clients send theirs with every tunnel


class Challenge(StrEnum):
    """When a client without credentials is asked for them: `identity.challenge`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class CredentialSource(Protocol):
    """One kind of credential, of a request head or of a connection."""

    @property
    def asks(self) -> IdentitySource | None:
        """What it identifies a client by that sends it after a 407; None if none does."""
        ...

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        """The client; None if it has no credential of this kind. Raises `DownstreamError` if it has one that is not
        accepted, `InternalError` if it has one that cannot be checked now."""
        ...


class PasswordFile:
    """Basic credentials, checked against the users of an htpasswd file. A verdict is remembered under a keyed digest,
    so that no password is kept. A check is slow on purpose: checks run in threads of their own, one at a time for each
    client address, so that guessing delays only the guesser's own credentials."""

    asks = IdentitySource.BASIC

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = users
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(rounds=_usual_cost(users)))
        self._key = secrets.token_bytes(32)
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()
        self._threads = ThreadPoolExecutor(CHECKS_AT_ONCE, thread_name_prefix="password")
        self._turns: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        """See `CredentialSource`."""
        credentials = _basic_credentials(head)
        if credentials is None:
            return None
        if not await self._accepts(credentials, address):
            raise DownstreamError(Reason.CREDENTIALS_INVALID, "Basic credentials")
        return Client(address, IdentitySource.BASIC, user=credentials.user)

    async def _accepts(self, credentials: BasicCredentials, address: Address) -> bool:
        """Whether the user exists and the password is theirs. An unknown user takes as long as a wrong password."""
        text = f"{credentials.user}\0{credentials.password}".encode()
        digest = hmac.digest(self._key, text, hashlib.sha256)
        accepted = self._recall(digest)
        if accepted is None:
            turn = self._turns.setdefault(address, asyncio.Lock())
            async with turn:  # meanwhile another tunnel of the same client may have brought the same credentials
                accepted = self._recall(digest)
                if accepted is None:
                    accepted = await self._check(credentials)
                    self._remember(digest, accepted)
        return accepted

    async def _check(self, credentials: BasicCredentials) -> bool:
        stored = self._users.get(credentials.user, self._nobody)
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, _matches, credentials.password.encode(), stored)
        return matches and credentials.user in self._users

    def _recall(self, digest: bytes) -> bool | None:
        accepted = self._verdicts.get(digest)
        if accepted is not None:
            self._verdicts.move_to_end(digest)
        return accepted

    def _remember(self, digest: bytes, accepted: bool) -> None:
        self._verdicts[digest] = accepted
        if len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)


def _usual_cost(users: Mapping[str, bytes]) -> int:
    """The work factor of the first user's hash (`$2b$NN$...`); those of one file are usually all the same."""
    return next((int(stored.split(b"$")[2]) for stored in users.values()), 4)


def _matches(password: bytes, stored: bytes) -> bool:
    # bcrypt ignores what follows 72 bytes; newer versions of the library refuse it.
    return bcrypt.checkpw(password[:72], stored)


class CertificateNames:
    """A certificate that TLS has verified. One that claims to be a SPIFFE SVID must be a valid one: exactly one URI,
    and that a workload's ID (X509-SVID sections 2 and 5.2)."""

    asks = None

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        """See `CredentialSource`."""
        if certificate is None:
            return None
        spiffe = None
        if any(uri[:7].lower() == "spiffe:" for uri in certificate.uris):
            spiffe = parse_spiffe_id(certificate.uris[0]) if len(certificate.uris) == 1 else None
            if spiffe is None:
                raise DownstreamError(Reason.CREDENTIALS_INVALID, "client certificate: not exactly one valid SPIFFE ID")
        return Client(address, IdentitySource.MTLS, spiffe=spiffe, certificate=_shown_name(certificate))


def _shown_name(certificate: Certificate) -> str | None:
    first_dns_name = certificate.dns_names[0] if certificate.dns_names else None
    return first_dns_name or certificate.common_name or certificate.subject or None


@dataclass(frozen=True, slots=True)
class Identifier:
    """Tries `sources` in order, then takes the address. Whether an address alone is enough is for the rules to say.
    `workloads` knows which pod has an address."""

    sources: Sequence[CredentialSource] = ()
    challenge: Challenge = Challenge.AUTO
    workloads: Workloads | None = None

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client:
        """The client. Raises `DownstreamError` for wrong credentials, and for missing ones where every client is asked;
        `InternalError` for those that cannot be checked now."""
        for source in self.sources:
            client = await source.identify(address, head, certificate)
            if client is not None:
                return client if self.workloads is None else self.workloads.complete(client)
        if self.challenge is Challenge.ALWAYS:
            raise DownstreamError(Reason.CREDENTIALS_MISSING, "`challenge: always`")
        return self.by_address(address)

    def by_address(self, address: Address) -> Client:
        """Also the client of a captured connection, which does not know of a proxy that takes credentials."""
        return _client_at(address) if self.workloads is None else self.workloads.by_address(address)

    def refusal(self, denial: Deny, client: Client, intent: Intent, rules: Rules, now: float) -> GatewayError:
        """How to refuse a denied client: 407 if it is anonymous and credentials would have helped, else the denial."""
        if self.challenge is not Challenge.AUTO or client.source not in WITHOUT_CREDENTIALS:
            return Refused(denial)
        asked = {source.asks for source in self.sources if source.asks is not None}
        if asked and would_credentials_help(client, intent, rules, now, asked):
            return DownstreamError(Reason.CREDENTIALS_MISSING, f"{denial.reason} without credentials")
        return Refused(denial)


@lru_cache(maxsize=4096)
def _client_at(address: Address) -> Client:
    """The same clients come again and again."""
    return Client(address)


def _basic_credentials(head: HeaderFields) -> BasicCredentials | None:
    fields = head.values("proxy-authorization")
    if len(fields) > 1:
        raise DownstreamError(Reason.CREDENTIALS_INVALID, "more than one Proxy-Authorization")
    try:
        return parse_basic(fields[0]) if fields else None
    except MalformedCredentials as malformed:
        raise DownstreamError(Reason.CREDENTIALS_INVALID, str(malformed)) from malformed
