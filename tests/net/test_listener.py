"""Listening sockets and what they accept."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.model.addresses import Address, parse_address
from gateway.model.errors import ConfigError
from gateway.net.addresses.original_destination import IP_TRANSPARENT
from gateway.net.listener import NOBODY, Listener, Peer, open_listener, open_listeners
from gateway.net.stream import Stream
from tests.helpers.requirements import require_root
from tests.helpers.streams import receive, reset, send

ROOT = Path(__file__).parents[2]


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


class Accepted:
    """Remembers who came."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[Stream, Peer]] = asyncio.Queue()

    def __call__(self, stream: Stream, peer: Peer) -> None:
        self.queue.put_nowait((stream, peer))

    async def next(self) -> tuple[Stream, Peer]:
        return await asyncio.wait_for(self.queue.get(), 5)


@asynccontextmanager
async def listening(bind: str = "127.0.0.1") -> AsyncIterator[tuple[Listener, Accepted, int]]:
    accepted = Accepted()
    sock = open_listener(address(bind), 0)
    listener = Listener(sock, accepted)
    await listener.start()
    try:
        yield listener, accepted, sock.getsockname()[1]
    finally:
        listener.close()


async def test_a_wildcard_ipv6_listener_takes_both_families_and_tells_plain_addresses() -> None:
    async with listening("::") as (_, accepted, port):
        for host, version in (("127.0.0.1", 4), ("::1", 6)):
            with socket.create_connection((host, port)) as client:
                stream, peer = await accepted.next()
                assert peer == (address(host), client.getsockname()[1])
                assert peer[0].version == version
                await stream.aclose()


def test_a_listener_on_one_ipv6_address_takes_ipv6_only() -> None:
    with open_listener(address("::1"), 0) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


class NoIPv6(socket.socket):
    """What `socket.socket` is on a machine whose kernel has no IPv6."""

    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        super().__init__(family, kind, proto, fileno)


def test_without_ipv6_the_ipv6_wildcard_is_the_ipv4_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", NoIPv6)
    with open_listener(address("::"), 0) as sock:
        assert sock.getsockname()[0] == "0.0.0.0"
    with pytest.raises(ConfigError, match=r"^\[::1\]:0: cannot listen: Address family not supported by protocol$"):
        open_listener(address("::1"), 0)


def test_a_taken_port_is_one_line_that_names_the_address() -> None:
    with open_listener(address("127.0.0.1"), 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            open_listener(address("127.0.0.1"), port)
    assert str(caught.value).startswith(f"127.0.0.1:{port}: cannot listen: the address is already in use (")


def test_a_foreign_address_is_one_line_that_names_it() -> None:
    with pytest.raises(
        ConfigError, match=r"^192\.0\.2\.1:3128: cannot listen: this machine does not have the address$"
    ):
        open_listener(address("192.0.2.1"), 3128)


@pytest.mark.privileged
def test_a_forbidden_port_is_one_line_that_names_it() -> None:
    require_root()
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))
    if first_free < 2:
        pytest.skip("every port is free for everyone here")
    program = (
        "import os; from gateway.net.listener import open_listener; from gateway.model.addresses import Address;"
        "os.setuid(65532); open_listener(Address(4, 0x7f000001), 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1].endswith(
        "127.0.0.1:1: cannot listen: permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)"
    )


async def test_a_closed_listener_refuses_while_accepted_connections_go_on() -> None:
    async with listening() as (listener, accepted, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            stream, _ = await accepted.next()
            listener.close()
            listener.close()
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            await send(client, b"still here")
            assert await stream.more()
            stream.write(b"yes")
            assert await receive(client) == b"yes"
            client.shutdown(socket.SHUT_WR)
            assert not await stream.more()
            await stream.aclose()


async def test_who_stands_in_the_kernels_queue_at_the_end_is_accepted_before_it_closes() -> None:
    async with listening() as (listener, accepted, port):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]  # no turn of the loop in between
        await listener.finish()
        came = [await accepted.next() for _ in clients]
        assert {peer[1] for _, peer in came} == {client.getsockname()[1] for client in clients}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for stream, _ in came:
            stream.write(b"bye")
        for client in clients:
            client.setblocking(False)
            assert await receive(client) == b"bye"
            client.close()
        for stream, _ in came:
            await stream.aclose()


async def test_no_more_than_a_queue_holds_are_accepted_at_the_end() -> None:
    async with listening() as (listener, accepted, port):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.net.listener.BACKLOG", 3)
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
            await listener.finish()
        came = [await accepted.next() for _ in range(3)]
        assert accepted.queue.empty()
        for client in clients:
            client.close()
        for stream, _ in came:
            await stream.aclose()


async def test_an_address_can_be_listened_on_again_at_once() -> None:
    async with listening() as (listener, accepted, port):
        with socket.create_connection(("127.0.0.1", port)):
            stream, _ = await accepted.next()
            await stream.aclose()
            listener.close()
        open_listener(address("127.0.0.1"), port).close()


async def test_who_is_gone_before_it_was_accepted_comes_as_a_lost_stream_of_nobody_and_the_next_one_as_ever() -> None:
    async with listening() as (_, accepted, port):
        reset(socket.create_connection(("127.0.0.1", port)))
        with socket.create_connection(("127.0.0.1", port)) as client:
            lost, peer = await accepted.next()
            assert peer == NOBODY == (address("0.0.0.0"), 0)
            assert lost.is_lost
            assert not await lost.more()
            lost.write(b"nobody reads this")
            await lost.aclose()
            lost.abort()
            stream, peer = await accepted.next()
            assert peer[1] == client.getsockname()[1]
            await stream.aclose()
        assert accepted.queue.empty()


async def test_accepted_connections_are_probed_by_the_kernel_and_send_without_delay() -> None:
    async with listening() as (_, accepted, port):
        with socket.create_connection(("127.0.0.1", port)):
            stream, _ = await accepted.next()
            sock = stream.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await stream.aclose()


def test_without_free_descriptors_the_listener_neither_spins_nor_dies() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.few_descriptors"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_sockets_of_one_address_share_what_comes_in_and_nobody_joins_them_unasked() -> None:
    group = open_listeners(address("127.0.0.1"), 0, 2)
    port = group[0].getsockname()[1]
    try:
        assert [sock.getsockname()[1] for sock in group] == [port, port]
        with pytest.raises(ConfigError, match="already in use"):
            open_listeners(address("127.0.0.1"), port, 2)
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
        waiting = [accepted_by(sock) for sock in group]
        assert sum(map(len, waiting)) == 64
        assert all(waiting)
        for sock in (*clients, *waiting[0], *waiting[1]):
            sock.close()
    finally:
        for sock in group:
            sock.close()


def accepted_by(listener: socket.socket) -> list[socket.socket]:
    """All that wait there."""
    accepted = []
    with suppress(BlockingIOError):
        while True:
            accepted.append(listener.accept()[0])
    return accepted


@pytest.mark.privileged
def test_a_transparent_listener_takes_connections_for_other_addresses() -> None:
    require_root()
    for transparent in (True, False):
        with open_listener(address("::"), 0, transparent=transparent) as sock:
            assert sock.getsockopt(socket.SOL_IP, IP_TRANSPARENT) == transparent


def test_without_the_privilege_it_listens_all_the_same_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.net.listener.accept_any_destination", lambda sock: False)
    with open_listener(address("127.0.0.1"), 0, transparent=True) as sock:
        assert sock.getsockname()[1] > 0
    assert "TPROXY needs CAP_NET_ADMIN" in caplog.text
