"""The keys of an issuer (RFC 7517): fetched, kept, and fetched again when a token names an unknown one.

Strangers choose the key ids in tokens: however many unknown ones come, the issuer is asked by one request at a time,
and not more often than every `REFRESH_PAUSE` seconds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

MAX_KEYS = 100
SMALLEST_RSA = 2048
REFRESH_PAUSE = 2.0

REFRESH_SECONDS = 240.0  # then they are fetched again, while those that are known go on serving
TRUST_SECONDS = 300.0  # a revoked key is trusted no longer: after a quiet time whoever comes first waits for a fetch
KEEP_SECONDS = 86400.0  # while the issuer does not answer
PATIENCE = 5.0  # seconds for which a token waits for newer keys if its own is known

_logger = logging.getLogger(__name__)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

Fetch = Callable[[], Awaitable[bytes]]
"""Gives the key set as JSON. Raises `KeysUnavailable`."""


class KeysUnavailable(Exception):
    """They cannot be fetched; the text says why."""


class Key(NamedTuple):
    """`algorithm` is the only one that signatures by this key may use."""

    algorithm: str
    key: PublicKey


def parse_keys(text: bytes) -> Mapping[str, Key]:
    """By key id; keys that are not for RS256 or ES256 are left out. Raises `KeysUnavailable` if it is no key set."""
    try:
        listed = orjson.loads(text)["keys"]
        if not isinstance(listed, list):
            raise TypeError
    except (ValueError, TypeError, KeyError):
        raise KeysUnavailable("what was read is not a key set (RFC 7517)") from None
    keys = (_key(each) for each in listed[:MAX_KEYS] if isinstance(each, dict))
    return dict(key for key in keys if key is not None)


def _key(jwk: Mapping[str, Any]) -> tuple[str, Key] | None:
    if jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC") or "d" in jwk:
        return None
    try:
        key = jwt.PyJWK.from_dict(dict(jwk)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    algorithm = _algorithm(key)
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    return str(jwk.get("kid", "")), Key(algorithm, key)


def _algorithm(key: object) -> str | None:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= SMALLEST_RSA:
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    return None


class KeyRing:
    """The keys as they were last fetched. `version` changes when they do; `now` gives monotonic seconds."""

    def __init__(self, fetch: Fetch, now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now = now
        self._keys: Mapping[str, Key] = {}
        self._fetched_at: float | None = None
        self._next_at = float("-inf")
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None
        self.version = 0

    async def key(self, kid: str) -> Key | None:
        """The key of that id; None if the issuer has no such key. Raises `KeysUnavailable` if that is unknown."""
        self.maintain()
        key = self._keys.get(kid)
        if key is None or self.is_overdue:
            await self._refresh(None if key is None else PATIENCE)
            key = self._keys.get(kid)
        if key is None and self._failure:
            raise KeysUnavailable(self._failure)
        return key

    @property
    def is_overdue(self) -> bool:
        """Whether the keys must be fetched again before they are used. Not if the issuer did not answer just now."""
        now = self._now()
        if self._fetched_at is None or (self._failure and now < self._next_at + TRUST_SECONDS):
            return False
        return now - self._fetched_at > TRUST_SECONDS

    def maintain(self) -> None:
        """Start to refresh keys that are old, without waiting, and forget those that are too old."""
        if self._fetched_at is None:
            return
        age = self._now() - self._fetched_at
        if age > KEEP_SECONDS and self._keys:
            self._replace({})
        if age > REFRESH_SECONDS:
            self._start()

    async def _refresh(self, patience: float | None) -> None:
        fetching = self._start()
        if fetching is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(fetching), patience)

    def _start(self) -> asyncio.Task[None] | None:
        """The fetch that is under way or due; None: it is too early for another."""
        if self._fetching is None and self._now() >= self._next_at:
            self._fetching = asyncio.create_task(self._fetch_now(), name="keys")
        return self._fetching

    async def _fetch_now(self) -> None:
        try:
            keys = parse_keys(await self._fetch())
        except KeysUnavailable as error:
            self._complain(error)
        except Exception:  # a fault of ours; the next token must not ask again at once
            _logger.exception("the keys of the token issuer cannot be read")
            self._complain(KeysUnavailable("internal error"))
        else:
            if self._failure:
                _logger.info("the keys of the token issuer are fetched again")
            self._failure, self._fetched_at = "", self._now()
            self._next_at = self._now() + REFRESH_PAUSE
            self._replace(keys)
        finally:
            self._fetching = None

    def _complain(self, error: KeysUnavailable) -> None:
        """Log the first failure only, until they can be fetched again."""
        if not self._failure:
            _logger.error("the keys of the token issuer cannot be fetched: %s", error)
        self._failure = str(error)
        self._next_at = self._now() + REFRESH_PAUSE

    def _replace(self, keys: Mapping[str, Key]) -> None:
        if {kid: key.key.public_numbers() for kid, key in keys.items()} != {
            kid: key.key.public_numbers() for kid, key in self._keys.items()
        }:
            self.version += 1
        self._keys = keys
