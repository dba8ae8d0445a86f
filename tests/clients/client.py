"""One GET through the proxy: `python client.py LIBRARY URL [CA_FILE]`, the proxy in HTTPS_PROXY and HTTP_PROXY.

Without CA_FILE everything is left to the library and to its variables. Only that library is imported: the others would
take longer than the errand.
"""

import asyncio
import os
import ssl
import sys
import urllib.request


def by_urllib(url: str, ca_file: str | None) -> str:
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    with urllib.request.urlopen(url, context=context, timeout=20) as answer:
        return str(answer.read().decode())


def by_requests(url: str, ca_file: str | None) -> str:
    import requests

    answer = requests.get(url, verify=ca_file or True, timeout=20)
    answer.raise_for_status()
    return answer.text


def by_httpx(url: str, ca_file: str | None) -> str:
    import httpx

    answer = httpx.get(url, verify=ssl.create_default_context(cafile=ca_file) if ca_file else True, timeout=20)
    return answer.raise_for_status().text


def by_httpx_over_http2(url: str, ca_file: str | None) -> str:
    import httpx

    with httpx.Client(verify=ssl.create_default_context(cafile=ca_file), http2=True, timeout=20) as client:
        answers = [client.get(url).raise_for_status() for _ in range(3)]
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    return answers[-1].text


def by_aiohttp(url: str, ca_file: str | None) -> str:
    if ca_file is None:
        return asyncio.run(_by_aiohttp_alone(url))
    return asyncio.run(_by_aiohttp(url, ssl.create_default_context(cafile=ca_file)))


async def _by_aiohttp_alone(url: str) -> str:
    import aiohttp

    async with aiohttp.ClientSession(raise_for_status=True, trust_env=True) as session, session.get(url) as answer:
        return await answer.text()


async def _by_aiohttp(url: str, context: ssl.SSLContext) -> str:
    import aiohttp
    from yarl import URL

    proxy = URL(os.environ["HTTPS_PROXY"])
    auth = aiohttp.BasicAuth(proxy.user, proxy.password or "") if proxy.user else None
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(url, proxy=proxy.with_user(None), proxy_auth=auth, ssl=context) as answer,
    ):
        return await answer.text()


def by_websocket(url: str, ca_file: str | None) -> str:
    if ca_file is None:
        return asyncio.run(_by_websocket(url, True, None))
    return asyncio.run(_by_websocket(url, ssl.create_default_context(cafile=ca_file), os.environ["HTTPS_PROXY"]))


async def _by_websocket(url: str, context: ssl.SSLContext | bool, proxy: str | None) -> str:
    import aiohttp

    async with (
        aiohttp.ClientSession(trust_env=proxy is None) as session,
        session.ws_connect(url, proxy=proxy, ssl=context) as socket,
    ):
        await socket.send_str("hello from the origin\n")
        return str(await socket.receive_str(timeout=20))


LIBRARIES = {
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx2": by_httpx_over_http2,
    "aiohttp": by_aiohttp,
    "websocket": by_websocket,
}

if __name__ == "__main__":
    library, url, *ca_file = sys.argv[1:]
    sys.stdout.write(LIBRARIES[library](url, ca_file[0] if ca_file else None))
