"""What clients do while a soak goes on: each visit is of a kind drawn by chance, and its outcome is counted."""

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import h2.config
import h2.connection
import h2.events

from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer
from tests.helpers.http2_client import request
from tests.helpers.http2_origin import Http2Origin
from tests.helpers.origins import Origin, echo, http
from tests.helpers.tls_client import client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

NAMES, WEB_NAMES = 3000, 4
AT_ONCE = 24
SECONDS = 30.0  # of one visit, at most
CHATTER = bytes(range(256)) * 64

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Destinations:
    """Where the visits go, on loopback, and who tells their addresses."""

    dns: DnsServer
    web: Origin
    tcp: Origin
    secure: TlsOrigin
    multiplexed: Http2Origin
    bundle: Path

    def policy(self, number: int) -> Mapping[str, object]:
        """The same each time but for a name, so that a reload has something to take."""
        inspect = {"upstream_ca": self.bundle.name, "requests": [{"methods": ["GET"], "paths": ["/open"]}]}
        tls = {"hosts": ["*.soak.test"], "protocol": "tls", "inspect": inspect}
        queue = {"concurrent": AT_ONCE // 8, "on_limit": "queue", "max_wait": "20s"}
        return {
            "rules": [
                {"name": f"web{number}", "hosts": ["*.soak.test"], "ports": [self.web.port], "protocol": "http"},
                {"name": "tcp", "hosts": ["*.soak.test"], "ports": [self.tcp.port], "protocol": "tls", "sni": "rule"},
                {"name": "secure", "ports": [self.secure.port], "limits": [queue], **deepcopy(tls)},
                {"name": "multiplexed", "ports": [self.multiplexed.port], **tls},
            ]
        }

    def forget(self) -> None:
        """What came so far."""
        self.dns.queries.clear()
        for origin in (self.web, self.tcp, self.secure.origin, self.multiplexed.origin):
            origin.forget()
        for seen in (self.secure.requests, self.secure.versions, self.secure.resumed, self.secure.alpn):
            seen.clear()
        self.multiplexed.requests.clear()
        self.multiplexed.resets.clear()


@contextmanager
def destinations(folder: Path) -> Iterator[Destinations]:
    """Until the block ends. The origins' authority is written into `folder`, the policy's."""
    issuer = Issuer(folder)
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer())
        for number in range(NAMES):
            dns.answer(f"n{number}.soak.test", "127.0.0.1", ttl=5)
        yield Destinations(
            dns,
            stack.enter_context(Origin(http())),
            stack.enter_context(Origin(echo)),
            stack.enter_context(TlsOrigin(context=issuer.context("*.soak.test"))),
            stack.enter_context(Http2Origin(issuer.context("*.soak.test"))),
            issuer.bundle,
        )


@dataclass
class Visits:
    """Through the gateway at `port`, whose authority is `ca`. `outcomes` counts how each kind ended."""

    port: int
    ca: Path
    to: Destinations
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._trusting = client_context(self.ca)
        self._multiplexing = client_context(self.ca, "h2")
        self._distrusting = client_context(None)

    async def until(self, end: float, chance: Random) -> None:
        """`AT_ONCE` at any time, begun before `end` (monotonic)."""
        await asyncio.gather(*[self._one_by_one(end, Random(chance.random())) for _ in range(AT_ONCE)])

    async def _one_by_one(self, end: float, chance: Random) -> None:
        kinds: tuple[Callable[[Random], Awaitable[None]], ...] = (
            self._tunnel,
            self._tunnel,
            self._requests,
            self._requests,
            self._denied,
            self._malformed,
            self._breaks_off,
            self._inspected,
            self._multiplexed,
            self._distrusts,
        )
        while time.monotonic() < end:
            kind = chance.choice(kinds)
            name = getattr(kind, "__name__", "")
            try:
                async with asyncio.timeout(SECONDS):
                    await kind(chance)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.outcomes[f"{name} {type(error).__name__}"] += 1
            else:
                self.outcomes[name] += 1

    async def _tunnel(self, chance: Random) -> None:
        host = f"n{chance.randrange(NAMES)}.soak.test"
        async with self._tunnelled(f"{host}:{self.to.tcp.port}") as (reader, writer):
            hello = build_client_hello(host, seed=chance.randrange(1000))
            for data in (hello, CHATTER[: chance.randrange(1, len(CHATTER))]):
                writer.write(data)
                assert await reader.readexactly(len(data)) == data

    async def _requests(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            for _ in range(chance.randrange(1, 8)):
                host = f"n{chance.randrange(WEB_NAMES)}.soak.test:{self.to.web.port}"
                writer.write(f"GET http://{host}/x?{chance.random()} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert await _answer(reader) == b"200"

    async def _denied(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            writer.write(_connect(f"d{chance.randrange(10**6)}.forbidden.test:443"))
            assert b" 403 " in await reader.readuntil(b"\r\n\r\n")

    async def _malformed(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            writer.write(bytes((chance.randrange(128, 256),)) + chance.randbytes(200))
            assert b" 400 " in await reader.readuntil(b"\r\n\r\n")

    async def _breaks_off(self, chance: Random) -> None:
        async with self._connected() as (_, writer):
            hello = build_client_hello("n1.soak.test")
            asked = _connect(f"n{chance.randrange(NAMES)}.soak.test:{self.to.tcp.port}") + hello
            writer.write(asked[: chance.randrange(len(asked))])
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.05)
            writer.transport.abort()

    async def _inspected(self, chance: Random) -> None:
        """Some requests are denied; of the connections only a few may be open at once, the others wait."""
        host = f"n{chance.randrange(WEB_NAMES)}.soak.test"
        async with self._tunnelled(f"{host}:{self.to.secure.port}") as (reader, writer):
            await writer.start_tls(self._trusting, server_hostname=host)
            for _ in range(chance.randrange(1, 5)):
                path, status = chance.choice([("open", b"200"), ("closed", b"403")])
                writer.write(f"GET /{path} HTTP/1.1\r\nHost: {host}:{self.to.secure.port}\r\n\r\n".encode())
                assert await _answer(reader) == status

    async def _multiplexed(self, chance: Random) -> None:
        """Several requests at once, of which some are denied and some given up; now and then it breaks off."""
        host = f"n{chance.randrange(WEB_NAMES)}.soak.test"
        async with self._tunnelled(f"{host}:{self.to.multiplexed.port}") as (reader, writer):
            await writer.start_tls(self._multiplexing, server_hostname=host)
            speaking = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
            speaking.initiate_connection()
            expected = {}
            for _ in range(chance.randrange(1, 6)):
                stream = speaking.get_next_available_stream_id()
                path, expected[stream] = chance.choice([("/open", "200"), ("/closed", "403")])
                fields = request("GET", f"{host}:{self.to.multiplexed.port}", path)
                speaking.send_headers(stream, fields, end_stream=True)
                if chance.random() < 0.1:
                    speaking.reset_stream(stream)
                    del expected[stream]
            writer.write(speaking.data_to_send())
            if chance.random() < 0.1:
                writer.transport.abort()
            else:
                await _answered(speaking, expected, reader, writer)

    async def _distrusts(self, chance: Random) -> None:
        host = f"n{chance.randrange(WEB_NAMES)}.soak.test"
        async with self._tunnelled(f"{host}:{self.to.secure.port}") as (_, writer):
            try:
                await writer.start_tls(self._distrusting, server_hostname=host)
            except ssl.SSLCertVerificationError:
                return
            raise AssertionError("a certificate of nobody's was believed")

    @contextlib.asynccontextmanager
    async def _tunnelled(self, authority: str) -> AsyncIterator[Streams]:
        async with self._connected() as (reader, writer):
            writer.write(_connect(authority))
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            yield reader, writer

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Streams]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The status of one answer, all of which was read."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return head.split(b" ", 2)[1]


async def _answered(
    speaking: h2.connection.H2Connection,
    expected: Mapping[int, str],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    waiting = set(expected)
    statuses: dict[int, str] = {}
    while waiting:
        data = await reader.read(65536)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        for event in speaking.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                statuses[event.stream_id] = next(str(value) for name, value in event.headers if str(name) == ":status")
            elif isinstance(event, h2.events.StreamEnded):
                waiting.discard(event.stream_id)
        writer.write(speaking.data_to_send())
    assert {stream: statuses[stream] for stream in expected} == expected


def _connect(authority: str) -> bytes:
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
