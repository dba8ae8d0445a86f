"""How clients are recognised, and the API server that knows about pods and tokens."""

from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field

from gateway.model.client import IdentitySource
from gateway.settings.leaves import Duration, FilePath, Flag, KeySource, ServerUrl, Text
from gateway.settings.section import Section, key


class BasicSettings(Section):
    """Users with passwords."""

    htpasswd: FilePath = Field(description="Lines of `user:hash`, bcrypt only (`htpasswd -B`).")


class TokenSettings(Section):
    """Tokens of service accounts (JWT)."""

    issuer: Text | None = key(None, "The `iss` that a token must carry; with jwks.")
    audience: Text = key("egress-gateway", "The `aud` that a token must carry.")
    jwks: KeySource | None = key(
        None, "Where the issuer's keys are: a file, an https URL, or `kubernetes` for the API server."
    )
    ca: FilePath | None = key(None, "With an https URL: CA certificates to trust, PEM; null for the system's.")
    review: Flag = key(False, "Instead of jwks: let the API server check each token (TokenReview).")


class IdentitySettings(Section):
    """How clients are recognised."""

    sources: Annotated[tuple[IdentitySource, ...], Field(min_length=1)] = key(
        ["mtls", "token", "basic", "kubernetes", "address"], "Sources of identity, tried in this order."
    )
    challenge: Literal["auto", "always", "never"] = key("auto", "When to answer 407 to a client without credentials.")
    required: Flag = key(False, "Refuse clients that are known by their address alone.")
    basic: BasicSettings | None = key(None, "Users with passwords.")
    token: TokenSettings | None = key(None, "Tokens of service accounts.")
    kubernetes: Flag = key(False, "Recognise pods by their address.")

    @property
    def used_sources(self) -> tuple[IdentitySource, ...]:
        """Those before `address`, which always answers, so that none after it is ever asked."""
        return tuple(takewhile(lambda source: source is not IdentitySource.ADDRESS, self.sources))


class KubernetesSettings(Section):
    """The API server."""

    server: ServerUrl | None = key(None, "Its URL; null for what a pod finds in its environment.")
    ca: FilePath | None = key(None, "CA certificates to trust, PEM; null for those mounted into a pod.")
    token_file: FilePath | None = key(None, "The file with our bearer token; null for the one mounted into a pod.")
    first_list: Duration = key("30s", "How long a start waits for the list of pods.")
    stale_after: Duration = key("5m", "How long the last state is used while the API server is silent.")
