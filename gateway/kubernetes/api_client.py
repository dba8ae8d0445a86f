"""A client of the API server.

HTTP and TLS are aiohttp's. No proxy is used, no redirect followed, and every answer is bounded. The token is read again
before each request, because kubelet replaces it; the authority's certificates are when their file changes.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet mounts what a pod needs for the API server."""

MAX_ANSWER = 64 * 1024 * 1024
MAX_EVENT = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0

_EXPIRED = ("Expired", "Gone")


class ApiError(Exception):
    """The API server could not be asked, or did not answer as it should; the text says what happened, in one line."""


class Expired(ApiError):
    """The version to resume from is too old: the whole state must be listed again."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server. `url` has no path; `ca` is a PEM file, None for the system's trust store;
    `token_file` is None for no token."""

    url: str
    ca: Path | None = None
    token_file: Path | None = None


def access_from_inside(environ: Mapping[str, str], mounted: Path = MOUNTED) -> Access:
    """As inside every pod; under the usual name if the environment has no address."""
    host = environ.get("KUBERNETES_SERVICE_HOST") or "kubernetes.default.svc"
    port = environ.get("KUBERNETES_SERVICE_PORT") or "443"
    literal = f"[{host}]" if ":" in host else host
    return Access(f"https://{literal}:{port}", mounted / "ca.crt", mounted / "token")


class ApiClient:
    """Asks one API server. `close` it at the end."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self._stamp: tuple[int, int] | None = None
        self._preparing = asyncio.Lock()

    async def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The object at `path`. Raises `ApiError`."""
        async with self._asking("GET", path, parameters, seconds=ANSWER_SECONDS) as response:
            return await _object_of(response)

    async def post(self, path: str, body: object) -> Any:
        """The object that the server makes of this one. Raises `ApiError`."""
        async with self._asking("POST", path, body=orjson.dumps(body), seconds=ANSWER_SECONDS) as response:
            return await _object_of(response)

    async def watch(
        self, path: str, parameters: Mapping[str, str], silence: float
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Events as they come, and an empty one as soon as the server begins to answer; ends when the server ends it,
        or after `silence` seconds without a byte. Raises `ApiError`."""
        async with self._asking("GET", path, {**parameters, "watch": "true"}, silence=silence) as response:
            if not response.ok:
                await _object_of(response)
            yield {}
            try:
                async for line in _lines(response.content):
                    yield _event(line)
            except TimeoutError:
                return

    async def close(self) -> None:
        """Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _asking(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float | None = None,
        silence: float = ANSWER_SECONDS,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A response whose body is still to be read. `seconds` bounds the whole, `silence` the time between bytes."""
        response = None
        try:
            async with asyncio.timeout(seconds):
                session, headers = await self._prepare()
                response = await session.request(
                    method,
                    f"{self._access.url}{path}",
                    params=parameters,
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence),
                    allow_redirects=False,
                )
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError and ssl.SSLError among them
            raise ApiError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        finally:
            if response is not None:
                response.close()

    async def _prepare(self) -> tuple[aiohttp.ClientSession, dict[str, str]]:
        """With the current authorities and token."""
        async with self._preparing:
            token, stamp = await asyncio.to_thread(_read_files, self._access)
            if self._session is None or stamp != self._stamp:
                await self.close()
                context = await asyncio.to_thread(ssl.create_default_context, cafile=self._access.ca)
                self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=False)
                self._stamp = stamp
            session = self._session
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return session, headers


async def _object_of(response: aiohttp.ClientResponse) -> Any:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ApiError(f"an answer of more than {MAX_ANSWER} bytes")
    if not response.ok:
        raise _refusal(response, bytes(body))
    return orjson.loads(body)


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    """From a `Status` object, or from whatever a proxy in between answered."""
    try:
        status = orjson.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict):
        return _failure(status, f"status {response.status}")
    return ApiError(f"{response.method} {response.url.path}: status {response.status}")


def _failure(status: Mapping[str, Any], otherwise: str) -> ApiError:
    words = str(status.get("message") or otherwise)[:300]
    return Expired(words) if status.get("reason") in _EXPIRED else ApiError(words)


def _event(line: bytes) -> Mapping[str, Any]:
    event = orjson.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise ApiError("a malformed event")
    if event.get("type") == "ERROR":
        raise _failure(event["object"], "an error without a message")
    return event


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if max(map(len, (*lines, rest))) > MAX_EVENT:
            raise ApiError(f"an event of more than {MAX_EVENT} bytes")
        for line in filter(None, lines):
            yield line


def _read_files(access: Access) -> tuple[str, tuple[int, int]]:
    """The token, and a stamp that changes with the file of certificates."""
    token = "" if access.token_file is None else access.token_file.read_text().strip()
    if access.ca is None:
        return token, (0, 0)
    stat = access.ca.stat()
    return token, (stat.st_mtime_ns, stat.st_ino)
