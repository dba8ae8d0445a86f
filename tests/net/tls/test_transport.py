"""TLS on streams that were read from before, with an independent TLS (Python's sockets) at the other end."""

import asyncio
import contextlib
import ctypes
import ctypes.util
import gc
import random
import socket
import ssl
import struct
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.model.record import Ended, Side, Transfer
from gateway.net.relay import Relay
from gateway.net.stream import HOLD_BOUND, Stream
from gateway.net.tls import transport as transport_module
from gateway.net.tls.contexts import TlsMaterial, build_server_context
from gateway.net.tls.transport import Resumption, TlsFailed, TlsTransport, start_tls
from tests.helpers.certificates import Authority, pem
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, receive_all, receive_exactly, send, stream_and_peer
from tests.helpers.tunnel import kernel_form

BULK = 3 << 20
MUCH = 24 << 20
ONE_READ = 256 * 1024  # of the loop

ROOT = Authority("root")
SERVER = ROOT.server("gateway.test")
MATERIAL = TlsMaterial(pem(*SERVER.chain), SERVER.key_pem)


def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pem(ROOT.certificate).decode())
    context.minimum_version = context.maximum_version = version
    return context


class BlockingPeer:
    """The client's end: a TLS socket that is used in a thread, since it shares no code with what is tested."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(True)
        sock.settimeout(10)
        self._wrap = lambda: context.wrap_socket(sock, server_hostname="gateway.test", suppress_ragged_eofs=False)
        self.raw = sock

    async def shake_hands(self) -> None:
        self.socket = await asyncio.to_thread(self._wrap)

    async def send(self, data: bytes) -> None:
        await asyncio.to_thread(self.socket.sendall, data)

    async def receive(self, size: int) -> bytes:
        """Exactly that much; less only before a `close_notify`. A connection that ends without raises."""

        def read() -> bytes:
            got = bytearray()
            while len(got) < size and (data := self.socket.recv(size - len(got))):
                got += data
            return bytes(got)

        return await asyncio.to_thread(read)


@asynccontextmanager
async def in_tls(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, material: TlsMaterial = MATERIAL
) -> AsyncIterator[tuple[Stream, BlockingPeer]]:
    stream, sock = await stream_and_peer()
    peer = BlockingPeer(sock, client_context(version))
    await asyncio.gather(start_tls(stream, build_server_context(material), server_side=True), peer.shake_hands())
    try:
        yield stream, peer
    finally:
        stream.abort()
        peer.socket.close()
        await until(lambda: stream.is_lost)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # a stream tells its receiver of its end, and here there is none
            await asyncio.sleep(0.005)


async def held(stream: Stream, size: int) -> bytes:
    """What the stream holds, once it is that much."""
    while len(stream.peek()) < size:
        assert await stream.more()
    return stream.peek()


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
async def test_what_is_said_inside_comes_out_clear_both_ways(version: ssl.TLSVersion) -> None:
    async with in_tls(version) as (stream, peer):
        await peer.send(b"ping")
        assert await held(stream, 4) == b"ping"
        stream.write(b"pong")
        assert await peer.receive(4) == b"pong"
        assert peer.socket.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert not stream.is_clear


class MemoryClient:
    """A client without a socket of its own, whose bytes a test cuts as it likes."""

    def __init__(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self._incoming, self._outgoing, server_hostname="gateway.test")

    def says(self) -> bytes:
        return self._outgoing.read()

    def hears(self, data: bytes) -> None:
        self._incoming.write(data)

    def shake(self, heard: bytes = b"") -> bytes:
        self.hears(heard)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.says()


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_a_hello_that_was_peeked_before_is_not_lost_however_the_rest_arrives(step: int) -> None:
    stream, sock = await stream_and_peer()
    client = MemoryClient()
    hello = client.shake()
    await send(sock, b"header " + hello[:60])
    await held(stream, 67)
    stream.consume(len(b"header "))
    starting = asyncio.ensure_future(start_tls(stream, build_server_context(MATERIAL), server_side=True))
    for at in range(60, len(hello), step):
        await send(sock, hello[at : at + step])
        await asyncio.sleep(0)
    heard = b""
    loop = asyncio.get_running_loop()
    while not (said := client.shake(heard)):
        heard = await loop.sock_recv(sock, 65536)
    client.tls.write(b"in the segment of Finished")
    await send(sock, said + client.says())
    await starting
    assert await held(stream, 26) == b"in the segment of Finished"
    stream.abort()
    sock.close()
    await until(lambda: stream.is_lost)


async def shaken_with(said_at_once: bytes) -> tuple[Stream, MemoryClient, socket.socket]:
    """A handshake whose last segment carries this as well."""
    stream, sock = await stream_and_peer()
    client, heard = MemoryClient(), b""
    await send(sock, client.shake())
    await held(stream, 100)
    starting = asyncio.ensure_future(start_tls(stream, build_server_context(MATERIAL), server_side=True))
    while not (said := client.shake(heard)):
        heard = await receive(sock)
    if said_at_once:
        client.tls.write(said_at_once)
    await send(sock, said + client.says())
    await starting
    return stream, client, sock


async def test_tickets_wait_for_the_answer_to_what_came_with_the_end_of_the_handshake() -> None:
    stream, client, sock = await shaken_with(b"ping")
    assert await held(stream, 4) == b"ping"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await receive(sock)
    stream.write(b"pong")
    client.hears(await receive(sock))
    assert client.tls.read(4) == b"pong"
    assert client.tls.session is not None
    assert client.tls.session.has_ticket
    stream.abort()
    sock.close()
    await until(lambda: stream.is_lost)


async def test_tickets_come_at_once_where_nothing_else_did() -> None:
    stream, client, sock = await shaken_with(b"")
    client.hears(await receive(sock))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.read(4)
    assert client.tls.session is not None
    assert client.tls.session.has_ticket
    stream.abort()
    sock.close()
    await until(lambda: stream.is_lost)


async def test_both_sides_can_be_ours() -> None:
    """As interception needs it: the same transport towards an origin."""
    server, client = await two_streams()
    await asyncio.gather(
        start_tls(server, build_server_context(MATERIAL), server_side=True),
        start_tls(client, client_context(), server_side=False, server_hostname="gateway.test"),
    )
    client.write(b"x" * BULK)
    got = 0
    while got < BULK:
        assert server.peek() or await server.more()
        got += len(server.peek())
        server.consume(len(server.peek()))
    server.write(b"thanks")
    assert await held(client, 6) == b"thanks"
    client.abort()
    await until(lambda: server.is_lost and client.is_lost)


async def two_streams() -> tuple[Stream, Stream]:
    one, sock = await stream_and_peer()
    _, other = await asyncio.get_running_loop().connect_accepted_socket(Stream, sock)
    return one, other


async def test_after_its_close_notify_a_client_still_hears_the_answer() -> None:
    async with in_tls() as (stream, peer):
        await peer.send(b"the last word")
        said_goodbye = asyncio.ensure_future(asyncio.to_thread(half_close, peer.socket))
        assert await held(stream, 13) == b"the last word"
        await until(lambda: stream.has_ended)
        stream.write(b"answer")
        stream.end()
        assert await said_goodbye == b"answer"


def half_close(sock: ssl.SSLSocket) -> bytes:
    """Python's sockets know no half-close, but OpenSSL sends `close_notify` at the first try of `unwrap` and then waits
    for the peer's: what comes instead is an error that tells of data, and the data can be read."""
    with contextlib.suppress(ssl.SSLError, OSError):
        sock.setblocking(False)
        sock._sslobj.shutdown()  # type: ignore[attr-defined]  # the public unwrap would also forget the TLS object
    sock.setblocking(True)
    got = b""
    with contextlib.suppress(ssl.SSLZeroReturnError):
        while data := sock._sslobj.read(1024):  # type: ignore[attr-defined]  # likewise
            got += data
    return got


async def test_an_end_is_told_by_close_notify_and_what_comes_after_it_is_still_heard() -> None:
    async with in_tls() as (stream, peer):
        stream.write(b"all there is")
        stream.end()
        stream.end()
        stream.write(b"nothing may follow")
        assert await peer.receive(100) == b"all there is"
        await peer.send(b"still talking")
        assert await held(stream, 13) == b"still talking"


async def test_a_client_that_ends_its_tcp_connection_has_ended() -> None:
    async with in_tls() as (stream, peer):
        peer.raw = peer.socket
        socket.socket.shutdown(peer.socket, socket.SHUT_WR)
        assert not await stream.more()
        assert stream.has_ended
        assert not stream.is_lost


async def test_a_closed_stream_says_goodbye_and_a_reset_one_does_not() -> None:
    async with in_tls() as (stream, peer):
        stream.write(b"bye")
        closing = asyncio.ensure_future(stream.aclose())
        assert await peer.receive(100) == b"bye"
        peer.socket.close()
        await closing
    async with in_tls() as (stream, peer):
        stream.abort()
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await peer.receive(1)


async def test_a_forged_record_breaks_the_connection_like_a_reset() -> None:
    async with in_tls() as (stream, peer):
        socket.socket.send(peer.socket, b"\x17\x03\x03\x00\x20" + bytes(32))
        assert not await stream.more()
        await until(lambda: stream.is_lost)
        assert stream.was_reset
        stream.write(b"nobody hears this")


@pytest.mark.parametrize(
    ("opening", "said"),
    [
        (b"\x16\x03\x01\x00\x05hello", b"\x15\x03"),
        (b"\x16\x03\x01\xff\xff" + bytes(100), b"\x15\x03"),
    ],
)
async def test_a_failed_handshake_is_told_by_an_alert_and_leaves_a_stream_that_closes(
    opening: bytes, said: bytes
) -> None:
    stream, sock = await stream_and_peer()
    await send(sock, opening)
    with pytest.raises(TlsFailed) as caught:
        await start_tls(stream, build_server_context(MATERIAL), server_side=True)
    assert not caught.value.certificate
    closing = asyncio.ensure_future(stream.aclose())
    assert (await receive_all(sock))[:2] == said
    sock.close()
    await closing


async def test_who_goes_away_during_the_handshake_fails_it() -> None:
    stream, sock = await stream_and_peer()
    await send(sock, MemoryClient().shake()[:50])
    starting = asyncio.ensure_future(start_tls(stream, build_server_context(MATERIAL), server_side=True))
    await asyncio.sleep(0.01)
    sock.close()
    with pytest.raises(TlsFailed):
        await starting
    with pytest.raises(TlsFailed):
        await start_tls(stream, build_server_context(MATERIAL), server_side=True)
    await stream.aclose()


async def test_a_cancelled_handshake_leaves_a_stream_that_can_be_reset() -> None:
    stream, sock = await stream_and_peer()
    starting = asyncio.ensure_future(start_tls(stream, build_server_context(MATERIAL), server_side=True))
    await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not isinstance(stream.transport, TlsTransport)
    stream.abort()
    with pytest.raises(ConnectionResetError):
        await receive_all(sock)
    sock.close()


async def test_nothing_of_a_connection_is_left_for_the_collector() -> None:
    async with in_tls() as (stream, peer):
        await peer.send(b"x")
        await held(stream, 1)
        transport = weakref.ref(stream.transport)
        gc.collect()
        gc.disable()
    try:
        assert stream.is_lost
        await asyncio.sleep(0.01)
        assert transport() is None
    finally:
        gc.enable()


async def test_a_tunnel_under_tls_carries_bulk_both_ways_and_is_never_spliced() -> None:
    splices, transfer, deadlines = kernel_form(), Transfer(), HandDeadlines()
    async with in_tls() as (downstream, peer):
        upstream, origin = await stream_and_peer()
        running = asyncio.ensure_future(Relay(downstream, upstream, transfer, deadlines, splices, 3600.0).run())
        sending = asyncio.ensure_future(peer.send(b"u" * BULK))
        assert await receive_exactly(origin, BULK) == b"u" * BULK
        await sending
        receiving = asyncio.ensure_future(peer.receive(BULK + 1))
        await send(origin, b"d" * BULK)
        origin.shutdown(socket.SHUT_WR)
        assert await receiving == b"d" * BULK
        await peer.send(b"after the end of the other direction")
        assert await receive_exactly(origin, 36) == b"after the end of the other direction"
        await asyncio.to_thread(peer.socket.close)
        await running
        await upstream.aclose()
        origin.close()
    assert splices.open == 0
    assert (transfer.bytes_up, transfer.bytes_down) == (BULK + 36, BULK)
    assert (transfer.ended, transfer.ended_by) == (Ended.CLOSED, Side.UPSTREAM)


async def test_what_waits_is_counted_in_bytes_of_the_clear() -> None:
    async with in_tls() as (stream, peer):
        stream.write(b"x" * (16 << 20))
        queued = stream.queued()
        assert 0 < queued < 16 << 20
        assert len(await peer.receive(16 << 20)) == 16 << 20
        assert stream.queued() == 0


async def test_who_talks_and_is_not_listened_to_fills_the_bound_and_no_more() -> None:
    async with in_tls() as (stream, peer):
        talking = asyncio.ensure_future(peer.send(b"x" * BULK))
        await held(stream, HOLD_BOUND)
        await asyncio.sleep(0.1)
        assert len(stream.peek()) <= HOLD_BOUND + ONE_READ
        await held(stream, BULK)
        await talking


async def test_who_does_not_read_stops_the_other_side_and_gets_everything_later() -> None:
    async with in_tls() as (downstream, peer):
        upstream, origin = await stream_and_peer()
        relay = Relay(downstream, upstream, Transfer(), HandDeadlines(), kernel_form(), 3600.0)
        running = asyncio.ensure_future(relay.run())
        sending = asyncio.ensure_future(send(origin, b"d" * MUCH))
        await asyncio.sleep(0.3)
        assert not sending.done()
        assert downstream.queued() <= 4 * ONE_READ
        assert await peer.receive(MUCH) == b"d" * MUCH
        await sending
        origin.close()
        await asyncio.to_thread(peer.socket.close)
        await running
        await upstream.aclose()


async def test_who_has_us_answer_and_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each KeyUpdate that asks for another is answered (RFC 8446 section 4.6.3)."""
    monkeypatch.setattr(transport_module, "_UNTAKEN_AT_MOST", 16 * 1024)
    stream, sock = await stream_and_peer(held=4096)
    ours = stream.transport.get_extra_info("socket")
    for end, kind in ((sock, socket.SO_SNDBUF), (ours, socket.SO_RCVBUF)):  # the way up does not hold all that is asked
        end.setsockopt(socket.SOL_SOCKET, kind, 64 * 1024)
    sock.setblocking(True)
    with sock:
        asking = asyncio.ensure_future(asyncio.to_thread(ask_for_keys, sock, 20_000))
        await start_tls(stream, build_server_context(MATERIAL), server_side=True)
        assert await asking < 20_000
        await until(lambda: stream.is_lost)


def ask_for_keys(sock: socket.socket, most: int) -> int:
    """With OpenSSL itself, for `ssl` has no word for it: so many KeyUpdates were sent, and nothing was read."""
    openssl = ctypes.CDLL(ctypes.util.find_library("ssl"))
    openssl.TLS_client_method.restype = openssl.SSL_CTX_new.restype = openssl.SSL_new.restype = ctypes.c_void_p
    context = ctypes.c_void_p(openssl.SSL_CTX_new(ctypes.c_void_p(openssl.TLS_client_method())))
    connection = ctypes.c_void_p(openssl.SSL_new(context))
    openssl.SSL_set_fd(connection, sock.fileno())
    sent = 0
    if openssl.SSL_connect(connection) == 1:
        while sent < most and openssl.SSL_key_update(connection, 1) == openssl.SSL_do_handshake(connection) == 1:
            sent += 1
    openssl.SSL_free(connection)
    openssl.SSL_CTX_free(context)
    return sent


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_follows_the_handshake_ends_the_connection_or_is_read(seed: int) -> None:
    chance = random.Random(seed)
    async with in_tls() as (stream, peer):
        await peer.send(b"proper")
        garbage = bytes((chance.choice((20, 21, 22, 23, 0, 255)), 3, 3)) + chance.randbytes(chance.randrange(1, 600))
        socket.socket.sendall(peer.socket, garbage)
        socket.socket.shutdown(peer.socket, socket.SHUT_WR)
        await until(lambda: stream.has_ended or stream.is_lost)
        assert stream.peek() == b"proper"
        stream.write(b"whatever")
        await stream.aclose()


async def test_what_came_right_before_a_forged_record_is_read() -> None:
    async with in_tls() as (stream, peer):
        stream.transport.pause_reading()
        await peer.send(b"proper")
        socket.socket.sendall(peer.socket, b"\x17\3\3\0\x20" + bytes(32))
        stream.transport.resume_reading()
        await until(lambda: stream.is_lost)
        assert (stream.peek(), stream.was_reset) == (b"proper", True)


def resets_when_closed(sock: socket.socket) -> None:
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def written_to_when_it_was_reset(context: ssl.SSLContext, end: Callable[[socket.socket], None]) -> Stream:
    """A client's, whose server's `end` is behind it before anything is written, or read."""
    stream, peer = await stream_and_peer()
    resets_when_closed(peer)
    server = threading.Thread(target=end, args=(peer,))
    server.start()
    await start_tls(stream, context, False, "gateway.test", Resumption(None, lambda _: None))
    server.join()  # the loop stands still meanwhile
    stream.write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: stream.is_lost)
    return stream


async def test_an_alert_right_after_the_handshake_is_heard_though_a_reset_came_behind_it() -> None:
    """As servers of TLS 1.3 refuse who has no certificate."""
    context = build_server_context(MATERIAL)
    context.verify_mode = ssl.CERT_REQUIRED

    def refuse(sock: socket.socket) -> None:
        with pytest.raises(ssl.SSLError), context.wrap_socket(sock, server_side=True):
            pass
        sock.close()

    stream = await written_to_when_it_was_reset(client_context(), refuse)
    assert stream.alert == "certificate required"


@VERSIONS
async def test_an_answer_is_heard_though_a_reset_came_behind_it(version: ssl.TLSVersion) -> None:
    context = build_server_context(MATERIAL)

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(b"last words")

    stream = await written_to_when_it_was_reset(client_context(version), answer)
    assert (stream.peek(), stream.was_reset) == (b"last words", True)
