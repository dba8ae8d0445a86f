"""Where an issuer's keys come from: a file, an https URL, or the API server itself."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import orjson

from gateway.kubernetes.api_client import ApiClient, ApiError
from gateway.kubernetes.tokens.keys import Fetch, KeysUnavailable

MAX_BYTES = 1024 * 1024
FETCH_SECONDS = 5.0
OF_THE_API = "/openid/v1/jwks"


def from_file(path: Path) -> Fetch:
    """Read again each time."""

    async def fetch() -> bytes:
        try:
            text = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise KeysUnavailable(f"{path}: {error.strerror}") from error
        _check_size(text)
        return text

    return fetch


def from_url(url: str, authorities: Path | None) -> Fetch:
    """Over TLS, trusting the authorities in that PEM file, None for the system's. No proxy, no redirect."""

    async def fetch() -> bytes:
        try:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=authorities)
            timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
            connector = aiohttp.TCPConnector(ssl=context)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                if not response.ok:
                    raise KeysUnavailable(f"{url}: status {response.status}")
                return await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError and ssl.SSLError among them
            raise KeysUnavailable(f"{url}: {str(error) or type(error).__name__}") from error

    return fetch


def from_api(api: ApiClient) -> Fetch:
    """From where every API server publishes the keys of its own tokens."""

    async def fetch() -> bytes:
        try:
            return orjson.dumps(await api.get(OF_THE_API))
        except ApiError as error:
            raise KeysUnavailable(str(error)) from error

    return fetch


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        _check_size(body)
    return bytes(body)


def _check_size(text: bytes | bytearray) -> None:
    if len(text) > MAX_BYTES:
        raise KeysUnavailable(f"a key set of more than {MAX_BYTES} bytes")
