"""One question to one name server: over UDP from a fresh random port, over TCP if the answer was truncated.

Only a response with our id and our question, from the address and port that were asked, is an answer (RFC 5452 section
9); everything else on the socket is ignored, so that a forged datagram cannot end the wait for the real one.

Over UDP the name's letters have a random case that an answer must repeat (draft-vixie-dnsext-dns0x20): a forger has to
guess one more bit for each letter. An answer that differs only in case is fetched again over TCP, so that a server that
does not repeat the case costs time, not correctness.
"""

import asyncio
import secrets
import socket

import dns.exception
import dns.message
import dns.name
import dns.rcode

from gateway.net.dns.transport import EDNS_PAYLOAD, LARGEST_MESSAGE, Over, Question, Reply, read_message
from gateway.net.names import NameServer

_NO_EDNS = -1


class PlainDns:
    """UDP and TCP on one port (RFC 1035, RFC 7766). Keeps nothing open."""

    over = Over.UDP

    async def ask(self, server: NameServer, question: Question) -> Reply:
        """See `DnsTransport.ask`."""
        reply = await _ask(server, question, edns=0)
        if _knows_no_edns(reply.message):
            return await _ask(server, question, edns=_NO_EDNS)
        return reply

    def close(self) -> None:
        """See `DnsTransport.close`."""


async def _ask(server: NameServer, question: Question, edns: int) -> Reply:
    query = dns.message.make_query(in_random_case(question.name), question.kind, use_edns=edns, payload=EDNS_PAYLOAD)
    response = await _ask_udp(server, query)
    if response is None:
        return Reply(await _ask_tcp(server, query), Over.TCP)
    return Reply(response, Over.UDP)


def _knows_no_edns(response: dns.message.Message) -> bool:
    """Whether the question has to be put without EDNS (RFC 6891 section 7; old servers say NOTIMP)."""
    return response.edns < 0 and response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP)


def in_random_case(name: dns.name.Name) -> dns.name.Name:
    """The same name, each letter in upper or lower case at random."""
    return dns.name.Name([bytes(map(_in_either_case, label)) for label in name.labels])


def _in_either_case(character: int) -> int:
    is_letter = 0x41 <= character & ~0x20 <= 0x5A
    return character ^ (0x20 * secrets.randbits(1)) if is_letter else character


async def _ask_udp(server: NameServer, query: dns.message.Message) -> dns.message.Message | None:
    """None: the answer has to be fetched over TCP. A connected socket takes datagrams from that server only."""
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_DGRAM) as sock:
        sock.connect((str(server.address), server.port))  # binds a random free port (RFC 6056)
        sock.send(query.to_wire())
        while True:
            wire = await loop.sock_recv(sock, LARGEST_MESSAGE)
            try:
                response = read_message(wire, raise_on_truncation=True)
            except dns.message.Truncated as truncated:
                if query.is_response(truncated.message()):  # type: ignore[no-untyped-call] # dnspython left it untyped
                    return None
            except dns.exception.DNSException:
                continue
            else:
                if query.is_response(response):
                    return response if _is_spelt_alike(query, response) else None


def _is_spelt_alike(query: dns.message.Message, response: dns.message.Message) -> bool:
    """Whether all letters have the same case. A failure may come without the question, and claims nothing."""
    return not response.question or response.question[0].name.labels == query.question[0].name.labels


async def _ask_tcp(server: NameServer, query: dns.message.Message) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (str(server.address), server.port))
        await loop.sock_sendall(sock, query.to_wire(prepend_length=True))
        size = int.from_bytes(await _receive(sock, 2), "big")
        response = read_message(await _receive(sock, size))
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
