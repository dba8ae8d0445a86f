"""Tokens as credentials: `Proxy-Authorization: Bearer`, or in the place of the password in `HTTPS_PROXY`.

A password is taken for a token if the user is called `token`, if it looks like one, or if no source takes passwords:
what was meant as a token is never judged as a password.
"""

import re

from gateway.kubernetes.tokens.claims import ServiceAccount
from gateway.kubernetes.tokens.verifying import TokenCache
from gateway.model.addresses import Address
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import HeaderFields
from gateway.wire.credentials import MalformedCredentials, parse_basic, parse_bearer

USER = "token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_LIKE_A_TOKEN = re.compile(r"eyJ[^.]*\.[^.]*\..*", re.ASCII | re.DOTALL)


class TokenSource:
    """Fulfils `serve.identify.CredentialSource`. `passwords`: another source takes users and passwords."""

    asks = IdentitySource.TOKEN

    def __init__(self, tokens: TokenCache, *, passwords: bool) -> None:
        self.tokens = tokens
        self._passwords = passwords

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client | None:
        """See `CredentialSource`. Raises `InternalError` if the token cannot be verified now."""
        token = self._token_in(head)
        if token is None:
            return None
        if not _TOKEN.fullmatch(token):
            raise DownstreamError(Reason.TOKEN_INVALID, "what was sent is not a token")
        return _client(address, await self.tokens.account_of(token, address))

    def _token_in(self, head: HeaderFields) -> str | None:
        fields = head.values("proxy-authorization")
        if len(fields) > 1:
            raise DownstreamError(Reason.CREDENTIALS_INVALID, "more than one Proxy-Authorization")
        if not fields:
            return None
        try:
            bearer, basic = parse_bearer(fields[0]), parse_basic(fields[0])
        except MalformedCredentials as malformed:
            raise DownstreamError(Reason.CREDENTIALS_INVALID, str(malformed)) from malformed
        if bearer is not None or basic is None:
            return bearer
        meant = not self._passwords or basic.user == USER or _LIKE_A_TOKEN.fullmatch(basic.password)
        return basic.password if meant else None


def _client(address: Address, account: ServiceAccount) -> Client:
    return Client(
        address,
        IdentitySource.TOKEN,
        namespace=account.namespace,
        service_account=account.name,
        pod=account.pod,
    )
