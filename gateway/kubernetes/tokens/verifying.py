"""Verifies tokens: here, by the keys of their issuer, or by asking the API server (TokenReview).

Results are cached under the token's digest, so that a tunnel costs one look-up and no token is kept; never beyond the
token's expiry, and not beyond a change of keys.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import jwt

from gateway.kubernetes.api_client import ApiClient, ApiError
from gateway.kubernetes.tokens.claims import NotAnAccount, ServiceAccount, account_of_claims, account_of_user
from gateway.kubernetes.tokens.keys import KeyRing, KeysUnavailable
from gateway.model.addresses import Address
from gateway.model.errors import DownstreamError, InternalError
from gateway.model.reasons import Reason
from gateway.model.roles import Clock

LEEWAY = 30.0
"""Seconds by which clocks may differ."""

CACHED = 10_000
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
REVIEW_SECONDS = 60.0  # a deleted pod's token is accepted no longer than this
REFUSED_SECONDS = 5.0
REVIEWS_AT_ONCE = 8
REVIEWS_WAITING = 200

_NEEDED = ["exp", "iss", "aud", "sub"]


class Verified(NamedTuple):
    """A result that holds until `until`, Unix seconds: an account, or None for a token refused for `detail`."""

    account: ServiceAccount | None
    until: float
    detail: str = ""


class _Known(NamedTuple):
    """A result, and its end in monotonic seconds as well: a clock that is set back makes nothing last longer."""

    verified: Verified
    until: float


class Verifier(Protocol):
    """One way to verify a token."""

    @property
    def version(self) -> int:
        """Results found under another version are void."""
        ...

    @property
    def is_overdue(self) -> bool:
        """Whether a result that is known may be out of date: verify again."""
        ...

    async def verify(self, token: str) -> Verified:
        """Raises `DownstreamError` for a token that is not accepted, `InternalError` if it cannot be verified now."""
        ...


class TokenCache:
    """A verifier's answers, each asked for once. Of each address one token is verified at a time: a client that guesses
    keeps only its own address waiting."""

    def __init__(self, verifier: Verifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock
        self._verdicts: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[Verified]] = {}
        self._turns: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()
        self._version = verifier.version

    async def account_of(self, token: str, address: Address) -> ServiceAccount:
        """The owner of a token that a client at this address sent. Raises as `Verifier.verify`."""
        digest = hashlib.sha256(token.encode()).digest()
        verdict = self._cached(digest) or await self._ask(digest, token, address)
        if verdict.account is None:
            raise DownstreamError(Reason.TOKEN_INVALID, verdict.detail)
        return verdict.account

    def _cached(self, digest: bytes) -> Verified | None:
        if self._version != self._verifier.version:
            self._version = self._verifier.version
            self._verdicts.clear()
        if self._verifier.is_overdue:
            return None
        known, clock = self._verdicts.get(digest), self._clock
        if known is None or known.verified.until < clock.time() or known.until < clock.monotonic():
            return None
        self._verdicts.move_to_end(digest)
        return known.verified

    async def _ask(self, digest: bytes, token: str, address: Address) -> Verified:
        """Many tunnels of one client bring the same token at the same time: it is verified once."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._verify_in_turn(token, address))
            self._asking[digest] = asking
            asking.add_done_callback(lambda done: self._store(digest, done))
        return await asyncio.shield(asking)

    async def _verify_in_turn(self, token: str, address: Address) -> Verified:
        turn = self._turns.setdefault(address, asyncio.Lock())
        async with turn:
            return await self._verifier.verify(token)

    def _store(self, digest: bytes, done: "asyncio.Future[Verified]") -> None:
        self._asking.pop(digest, None)
        if done.cancelled() or done.exception() is not None:
            return
        self._cached(digest)  # drops everything if the keys have changed meanwhile
        verified, clock = done.result(), self._clock
        self._verdicts[digest] = _Known(verified, clock.monotonic() + verified.until - clock.time())
        if len(self._verdicts) > CACHED:
            self._verdicts.popitem(last=False)


@dataclass(frozen=True, slots=True)
class ByKeys:
    """Verifies signatures here (RFC 7519, RFC 8725): the algorithm is the key's, never the token's choice."""

    ring: KeyRing
    issuer: str
    audience: str

    @property
    def version(self) -> int:
        """See `Verifier`."""
        self.ring.maintain()
        return self.ring.version

    @property
    def is_overdue(self) -> bool:
        """See `Verifier`."""
        return self.ring.is_overdue

    async def verify(self, token: str) -> Verified:
        """See `Verifier`."""
        kid = _key_id(token)
        try:
            key = await self.ring.key(kid)
        except KeysUnavailable as error:
            raise InternalError(Reason.TOKEN_UNVERIFIABLE, str(error)) from error
        if key is None:
            raise DownstreamError(Reason.TOKEN_INVALID, "it is signed with a key that the issuer does not have")
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self.audience,
                issuer=self.issuer,
                leeway=LEEWAY,
                options={"require": _NEEDED},
            )
            return Verified(account_of_claims(claims), float(claims["exp"]) + LEEWAY)
        except jwt.ExpiredSignatureError:
            raise DownstreamError(Reason.TOKEN_EXPIRED, "exp is past") from None
        except (jwt.PyJWTError, NotAnAccount, TypeError, OverflowError) as error:  # not chained: it may quote the token
            raise DownstreamError(Reason.TOKEN_INVALID, _why(error)) from None


class ByReview:
    """Asks the API server, which also knows about deleted pods and accounts. `now` gives Unix seconds."""

    version = 0
    is_overdue = False  # no result outlives `REVIEW_SECONDS`

    def __init__(self, api: ApiClient, audience: str, now: Callable[[], float]) -> None:
        self._api = api
        self._audience = audience
        self._now = now
        self._turn = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._waiting = 0

    async def verify(self, token: str) -> Verified:
        """See `Verifier`. Refusals are cached for a moment as well, so that guesses do not become requests."""
        expiry = _claimed_expiry(token)
        if expiry < self._now() - LEEWAY:
            raise DownstreamError(Reason.TOKEN_EXPIRED, "exp is past")
        status = await self._review(token)
        user, audiences = status.get("user"), status.get("audiences")
        if status.get("authenticated") is not True or not isinstance(user, dict):
            return self._refused("the API server does not accept it")
        if not isinstance(audiences, list) or self._audience not in audiences:
            return self._refused("it is for another audience")
        try:
            account = account_of_user(user)
        except NotAnAccount as error:
            return self._refused(str(error))
        return Verified(account, min(expiry + LEEWAY, self._now() + REVIEW_SECONDS))

    def _refused(self, detail: str) -> Verified:
        return Verified(None, self._now() + REFUSED_SECONDS, detail)

    async def _review(self, token: str) -> Mapping[str, Any]:
        if self._waiting >= REVIEWS_WAITING:
            raise InternalError(Reason.TOKEN_UNVERIFIABLE, "too many tokens wait for the API server")
        self._waiting += 1
        try:
            async with self._turn:
                answer = await self._api.post(REVIEWS, _question(token, self._audience))
        except ApiError as error:
            raise InternalError(Reason.TOKEN_UNVERIFIABLE, str(error)) from error
        finally:
            self._waiting -= 1
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            raise InternalError(Reason.TOKEN_UNVERIFIABLE, "a TokenReview without a status")
        return status


def _question(token: str, audience: str) -> Mapping[str, Any]:
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    return {**kind, "spec": {"token": token, "audiences": [audience]}}


def _key_id(token: str) -> str:
    """Raises `DownstreamError` for what is not a token, and for one with critical header parameters."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise DownstreamError(Reason.TOKEN_INVALID, "what was sent is not a token") from None
    kid = header.get("kid")
    if not isinstance(kid, str) or "crit" in header:
        raise DownstreamError(Reason.TOKEN_INVALID, "its header names no key, or critical extensions")
    return kid


def _claimed_expiry(token: str) -> float:
    """Unverified."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"])
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
        raise DownstreamError(Reason.TOKEN_INVALID, "what was sent is not a token, or does not expire") from None


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.InvalidAudienceError, "it is for another audience"),
    (jwt.InvalidIssuerError, "it is from another issuer"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidAlgorithmError, "its algorithm is not the key's"),
    (jwt.InvalidSignatureError, "its signature does not verify"),
    (jwt.MissingRequiredClaimError, "one of exp, iss, aud and sub is missing"),
    (NotAnAccount, "it is not a service account's"),
)


def _why(error: Exception) -> str:
    return next((words for kind, words in _WORDS if isinstance(error, kind)), "it is malformed")
