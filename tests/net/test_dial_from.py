"""Dialling from the addresses of a rule's `source`."""

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from gateway.model.addresses import Address
from gateway.model.decision import Permit, Source
from gateway.model.errors import InternalError, UpstreamError
from gateway.model.reasons import Reason
from gateway.net.dialer import translate
from tests.helpers.ports import free_port
from tests.net.parts import address_of, addresses, open_sockets
from tests.net.test_dialer import LOOPBACK, Origin, build_dialer, permit_for, sockets_return_to

NINTH, TENTH = addresses("127.0.0.9", "127.0.0.10")


def from_(permit: Permit, *source: Address) -> Permit:
    return replace(permit, source=Source(source))


async def test_the_first_address_of_the_source_is_left_from_and_recorded() -> None:
    async with Origin().listening(LOOPBACK) as origin:
        upstream = await build_dialer().dial(from_(permit_for(LOOPBACK, origin.port), NINTH, TENTH))
        assert upstream.stream.own_address() == NINTH
        upstream.stream.abort()
    assert upstream.dialled.source == NINTH


async def test_without_a_source_none_is_recorded() -> None:
    async with Origin().listening(LOOPBACK) as origin:
        upstream = await build_dialer().dial(permit_for(LOOPBACK, origin.port))
        upstream.stream.abort()
    assert upstream.dialled.source is None


async def test_the_next_address_is_taken_when_one_has_no_port_left(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    connect, tried = loop.sock_connect, []

    async def refuse_the_ninth(sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(sock.getsockname()[0])
        if tried[-1] == "127.0.0.9":
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        await connect(sock, address)

    class Loop:
        sock_connect = staticmethod(refuse_the_ninth)
        create_connection = loop.create_connection

    before = open_sockets()
    async with Origin().listening(LOOPBACK) as origin:
        dialer = build_dialer()
        monkeypatch.setattr("gateway.net.dialer.asyncio.get_running_loop", Loop)
        upstream = await dialer.dial(from_(permit_for(LOOPBACK, origin.port), NINTH, TENTH))
        with pytest.raises(UpstreamError) as refusal:
            await dialer.dial(from_(permit_for(LOOPBACK, origin.port), NINTH))
        monkeypatch.undo()
        upstream.stream.abort()
    assert tried == ["127.0.0.9", "127.0.0.10", "127.0.0.9"]
    assert upstream.dialled.source == TENTH
    assert refusal.value.reason is Reason.LOCAL_PORTS_EXHAUSTED
    await sockets_return_to(before)


async def test_a_source_of_the_other_version_only_lets_nothing_leave() -> None:
    async with Origin().listening(LOOPBACK) as origin:
        with pytest.raises(UpstreamError) as refusal:
            await build_dialer().dial(from_(permit_for(LOOPBACK, origin.port), address_of("::1")))
    assert origin.accepted == []
    assert refusal.value.reason is Reason.CONNECTION_UNROUTABLE
    assert "no address like it" in refusal.value.detail


async def test_an_address_that_is_not_ours_is_our_fault_and_lets_nothing_leave() -> None:
    async with Origin().listening(LOOPBACK) as origin:
        with pytest.raises(InternalError) as refusal:
            await build_dialer().dial(from_(permit_for(LOOPBACK, origin.port), address_of("192.0.2.1"), NINTH))
    assert origin.accepted == []
    assert refusal.value.reason is Reason.SOURCE_UNAVAILABLE


async def test_a_refused_connection_leaves_no_socket_and_tries_no_other_source() -> None:
    port = free_port()
    before = open_sockets()
    with pytest.raises(UpstreamError) as refusal:
        await build_dialer().dial(from_(permit_for(LOOPBACK, port), NINTH, TENTH))
    assert refusal.value.reason is Reason.CONNECTION_REFUSED
    await sockets_return_to(before)


def test_bound_ipv6_has_no_other_cause_than_ports() -> None:
    error = OSError(errno.EADDRNOTAVAIL, "x")
    assert translate(error, address_of("::1"), 443, bound=True).reason is Reason.LOCAL_PORTS_EXHAUSTED
    assert translate(error, address_of("::1"), 443).reason is Reason.CONNECTION_UNROUTABLE
