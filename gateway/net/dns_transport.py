"""One question to one name server: over UDP from a fresh random port, over TCP if the answer was truncated.

Only a response with our id and our question, from the address and port that were asked, is an answer (RFC 5452
section 9); everything else on the socket is ignored, so that a forged datagram cannot end the wait for the real one.
"""

import asyncio
import socket
from typing import Protocol

import dns.exception
import dns.message

from gateway.net.names import NameServer

EDNS_PAYLOAD = 1232
"""Bytes that pass every path unfragmented (DNS flag day 2020)."""
LARGEST_MESSAGE = 65535


class DnsTransport(Protocol):
    """How questions travel."""

    async def ask(self, server: NameServer, query: dns.message.Message) -> dns.message.Message:
        """A validated response, whatever its rcode. Waits for ever: who asks brings the time-out. Raises `OSError`
        where the server cannot be reached or breaks off, `dns.exception.DNSException` where its answer is malformed."""
        ...


class PlainDns:
    """UDP and TCP on one port (RFC 1035, RFC 7766)."""

    async def ask(self, server: NameServer, query: dns.message.Message) -> dns.message.Message:
        """See `DnsTransport.ask`."""
        response = await _ask_udp(server, query)
        return await _ask_tcp(server, query) if response is None else response


async def _ask_udp(server: NameServer, query: dns.message.Message) -> dns.message.Message | None:
    """None: the answer was truncated. A connected socket takes datagrams from that server only."""
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_DGRAM) as sock:
        sock.connect((str(server.address), server.port))  # binds a random free port (RFC 6056)
        sock.send(query.to_wire())
        while True:
            wire = await loop.sock_recv(sock, LARGEST_MESSAGE)
            try:
                response = dns.message.from_wire(wire, raise_on_truncation=True)
            except dns.message.Truncated as truncated:
                if query.is_response(truncated.message()):  # type: ignore[no-untyped-call] # dnspython left it untyped
                    return None
            except dns.exception.DNSException:
                continue
            else:
                if query.is_response(response):
                    return response


async def _ask_tcp(server: NameServer, query: dns.message.Message) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (str(server.address), server.port))
        await loop.sock_sendall(sock, query.to_wire(prepend_length=True))
        size = int.from_bytes(await _receive(sock, 2), "big")
        response = dns.message.from_wire(await _receive(sock, size))
    if not query.is_response(response):
        raise ConnectionAbortedError("the response does not belong to the question")
    return response


async def _receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes."""
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < size:
        data = await loop.sock_recv(sock, size - len(received))
        if not data:
            raise ConnectionResetError("closed before its answer was complete")
        received += data
    return received


def _socket(server: NameServer, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if server.address.version == 4 else socket.AF_INET6
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)
