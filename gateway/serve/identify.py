"""Who is asking: the sources of identity that an explicit proxy port has, tried in the configured order.

A source that finds no credential of its kind passes on; one that finds a credential it cannot accept ends the attempt:
nobody falls through from a wrong password to what their address may do.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import bcrypt

from gateway.model.addresses import Address
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Deny
from gateway.model.errors import DownstreamError, GatewayError, Refused
from gateway.model.intent import Intent
from gateway.model.reasons import Reason
from gateway.policy.challenge import would_credentials_help
from gateway.policy.plan import Rules
from gateway.wire.credentials import BasicCredentials, MalformedCredentials, parse_basic
from gateway.wire.head import RequestHead

REMEMBERED = 10_000  # verdicts about credentials; bcrypt is slow on purpose, and clients send theirs with every tunnel


class Challenge(StrEnum):
    """When a client without credentials is asked for them: `identity.challenge`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class PasswordFile:
    """The users of an htpasswd file. A verdict is remembered under a keyed digest, so that no password is kept."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = users
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(rounds=_usual_cost(users)))
        self._key = secrets.token_bytes(32)
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()

    async def accepts(self, credentials: BasicCredentials) -> bool:
        """True if the user exists and the password is theirs. An unknown user takes as long as a wrong password."""
        text = f"{credentials.user}\0{credentials.password}".encode()
        digest = hmac.digest(self._key, text, hashlib.sha256)
        known = self._verdicts.get(digest)
        if known is not None:
            self._verdicts.move_to_end(digest)
            return known
        stored = self._users.get(credentials.user, self._nobody)
        matches = await asyncio.to_thread(_matches, credentials.password.encode(), stored)
        accepted = self._verdicts[digest] = matches and credentials.user in self._users
        if len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        return accepted


def _usual_cost(users: Mapping[str, bytes]) -> int:
    """The work factor of the first user's hash (`$2b$NN$...`); all of one file were usually made alike."""
    return next((int(stored.split(b"$")[2]) for stored in users.values()), 4)


def _matches(password: bytes, stored: bytes) -> bool:
    return bcrypt.checkpw(
        password[:72], stored
    )  # what lies beyond 72 bytes bcrypt never saw, and newer versions refuse


@dataclass(frozen=True, slots=True)
class Identifier:
    """Tries `sources` in order. `passwords` None: no Basic credentials are looked at. Whether an address alone is
    enough is for the rules to say (`identity.required`)."""

    sources: Sequence[IdentitySource]
    passwords: PasswordFile | None = None
    challenge: Challenge = Challenge.AUTO

    async def identify(self, address: Address, head: RequestHead) -> Client:
        """The client. Raises `DownstreamError` for wrong credentials, and for none where everybody is asked."""
        for source in self.sources:
            if source is IdentitySource.ADDRESS:
                break
            if source is IdentitySource.BASIC and self.passwords is not None:
                credentials = _basic_credentials(head)
                if credentials is not None:
                    return await self._by_password(address, credentials, self.passwords)
        if self.challenge is Challenge.ALWAYS:
            raise DownstreamError(Reason.CREDENTIALS_MISSING, "`challenge: always`")
        return Client(address)

    async def _by_password(self, address: Address, credentials: BasicCredentials, passwords: PasswordFile) -> Client:
        if not await passwords.accepts(credentials):
            raise DownstreamError(Reason.CREDENTIALS_INVALID, "Basic credentials")
        return Client(address, IdentitySource.BASIC, user=credentials.user)

    def refusal(self, denial: Deny, client: Client, intent: Intent, rules: Rules, now: float) -> GatewayError:
        """What a denied client is told: 407 if it is anonymous and credentials would have helped, else the denial."""
        anonymous = client.source is IdentitySource.ADDRESS and self.passwords is not None
        if self.challenge is Challenge.AUTO and anonymous and would_credentials_help(client, intent, rules, now):
            return DownstreamError(Reason.CREDENTIALS_MISSING, f"{denial.reason} without credentials")
        return Refused(denial)


def _basic_credentials(head: RequestHead) -> BasicCredentials | None:
    fields = head.values("proxy-authorization")
    if len(fields) > 1:
        raise DownstreamError(Reason.CREDENTIALS_INVALID, "more than one Proxy-Authorization")
    try:
        return parse_basic(fields[0]) if fields else None
    except MalformedCredentials as malformed:
        raise DownstreamError(Reason.CREDENTIALS_INVALID, str(malformed)) from malformed
