"""The sources of identity that the settings ask for."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app.clock import SystemClock
from gateway.app.identity.cluster import Cluster
from gateway.model.client import IdentitySource
from gateway.serve.identify import CertificateNames, Challenge, CredentialSource, Identifier, PasswordFile
from gateway.serve.workloads import Workloads
from gateway.settings.gateway import GatewaySettings
from gateway.settings.sections.identity import TokenSettings

if TYPE_CHECKING:
    from gateway.kubernetes.tokens.keys import Fetch


def build_identifier(
    settings: GatewaySettings, users: Mapping[str, bytes] | None, cluster: Cluster, former: Identifier | None = None
) -> Identifier:
    """The configured sources that come before the address. Slow: it computes a bcrypt hash. A `former` one has the same
    settings of tokens: the keys and results that it knows are kept, as their issuer may not answer now."""
    identity = settings.identity
    workloads = None
    if cluster.directory is not None:
        workloads = Workloads(cluster.directory, settings.cluster.cidrs)
    sources: list[CredentialSource] = []
    for kind in identity.used_sources:
        if kind is IdentitySource.MTLS:
            sources.append(CertificateNames())
        elif kind is IdentitySource.TOKEN and identity.token is not None:
            sources.append(_build_tokens(identity.token, cluster, users is not None, former))
        elif kind is IdentitySource.BASIC and users is not None:
            sources.append(PasswordFile(users))
        elif kind is IdentitySource.KUBERNETES and workloads is not None:
            sources.append(workloads)
    return Identifier(sources, Challenge(identity.challenge), workloads)


def _build_tokens(
    settings: TokenSettings, cluster: Cluster, passwords: bool, former: Identifier | None
) -> CredentialSource:
    """aiohttp and PyJWT are imported only if tokens are used."""
    from gateway.kubernetes.tokens.keys import KeyRing  # noqa: PLC0415  # see above
    from gateway.kubernetes.tokens.source import TokenSource  # noqa: PLC0415
    from gateway.kubernetes.tokens.verifying import ByKeys, ByReview, TokenCache, Verifier  # noqa: PLC0415

    for source in former.sources if former is not None else ():
        if isinstance(source, TokenSource):
            return TokenSource(source.tokens, passwords=passwords)
    verifier: Verifier
    if settings.review or settings.jwks is None:
        verifier = ByReview(cluster.api, settings.audience, time.time)
    else:
        ring = KeyRing(_fetch(settings.jwks, settings.ca, cluster), time.monotonic)
        verifier = ByKeys(ring, settings.issuer or "", settings.audience)
    return TokenSource(TokenCache(verifier, SystemClock()), passwords=passwords)


def _fetch(jwks: Path | str, authorities: Path | None, cluster: Cluster) -> "Fetch":
    from gateway.kubernetes.tokens.fetching import from_api, from_file, from_url  # noqa: PLC0415  # likewise

    if isinstance(jwks, Path):
        return from_file(jwks)
    return from_api(cluster.api) if jwks == "kubernetes" else from_url(jwks, authorities)
