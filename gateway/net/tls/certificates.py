"""The names in a verified client certificate."""

import ssl
from collections.abc import Iterator
from typing import Any

from gateway.model.client import Certificate


def certificate_of(connection: ssl.SSLObject) -> Certificate | None:
    """The peer's, None if it presented none. OpenSSL must have verified it."""
    if connection.context.verify_mode is ssl.CERT_NONE:
        return None
    shown: dict[str, Any] | None = connection.getpeercert()
    if not shown:
        return None
    common_names = [value for key, value in _subject(shown) if key == "commonName"]
    return Certificate(
        subject=",".join(f"{key}={value}" for key, value in _subject(shown)),
        common_name=common_names[-1] if common_names else None,
        dns_names=tuple(_names(shown, "DNS")),
        uris=tuple(_names(shown, "URI")),
    )


def _subject(shown: dict[str, Any]) -> list[tuple[str, str]]:
    return [pair for relative_name in shown.get("subject", ()) for pair in relative_name]


def _names(shown: dict[str, Any], kind: str) -> Iterator[str]:
    return (value for each, value in shown.get("subjectAltName", ()) if each == kind)
