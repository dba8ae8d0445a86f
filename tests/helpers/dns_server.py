"""A name server for tests: real UDP and TCP on one port of 127.0.0.1, in a thread of its own, told what to say.

    with DnsServer() as dns:
        dns.answer("x.test", "203.0.113.5", "2001:db8::5", ttl=60)   # every A and AAAA query gets these
        dns.rotate("r.test", ["203.0.113.1"], ["203.0.113.2"])        # another set for each query of a type
        dns.alias("www.test", "x.test")                               # a CNAME, with what it leads to
        dns.alias("away.test", "x.test", alone=True)                  # a CNAME and nothing else
        dns.fail("broken.test", "SERVFAIL")                           # any rcode
        dns.spoil("x.test", Fault.SILENCE, only="AAAA")               # misbehave over what was said before
        ...                                                           # point the gateway at dns.address, dns.port
        assert dns.queries == [Query("x.test", "A", "udp"), ...]      # all that arrived, in order

A name that was never mentioned does not exist (NXDOMAIN). A response too big for the asker's UDP size is truncated.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from gateway.model.addresses import Address, parse_address

ADDRESS = "127.0.0.1"
SOA = "ns.test. hostmaster.test. 1 3600 600 86400 {minimum}"


class Fault(Enum):
    """How a response goes wrong. Those that `WRONG_` names come before the right one, as a forger's would."""

    SILENCE = auto()
    TRUNCATION = auto()  # over UDP: no records and the TC flag
    WRONG_ID = auto()
    WRONG_QUESTION = auto()
    WRONG_CASE = auto()  # the question's letters in the other case
    WRONG_PORT = auto()
    GARBAGE = auto()  # bytes that are no message
    NO_EDNS = auto()  # FORMERR to a question with EDNS, as from before RFC 2671
    CLOSE = auto()  # over TCP: half a response and the end
    STALL = auto()  # over TCP: half a response and nothing more


class Query(NamedTuple):
    """What arrived. `name` is in lower case without the trailing dot, `type` and `transport` are as in `A`, `udp`."""

    name: str
    type: str
    transport: str


@dataclass
class _Entry:
    sets: list[list[Address]] = field(default_factory=list)
    ttl: int = 60
    alias: str | None = None
    alone: bool = False
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    negative_ttl: int | None = 60  # None: no SOA
    faults: set[tuple[Fault, str | None]] = field(default_factory=set)
    delay: float = 0.0
    asked: dict[str, int] = field(default_factory=dict)


class DnsServer:
    """May be told more at any time, from any thread. `queries` grows as they arrive; clear it as you like."""

    def __init__(self, address: str = ADDRESS, port: int = 0) -> None:
        self.address = address
        self.port = port
        self.queries: list[Query] = []
        self._arrival = threading.Condition()
        self.source_ports: list[int] = []
        self.ids: list[int] = []
        self._entries: dict[str, _Entry] = {}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="dns server", daemon=True)

    # ------------------------------------------------------------------------------------------------- what it says

    def answer(self, name: str, *addresses: str, ttl: int = 60) -> None:
        """These addresses, IPv4 to A queries and IPv6 to AAAA; none of a type is an empty answer (NODATA)."""
        self.rotate(name, list(addresses), ttl=ttl)

    def rotate(self, name: str, *sets: list[str], ttl: int = 60) -> None:
        """One set after the other, from the start again after the last; each type counts by itself."""
        entry = self._entry(name)
        entry.sets = [[_parsed(address) for address in addresses] for addresses in sets]
        entry.ttl = ttl

    def alias(self, name: str, target: str, ttl: int = 60, *, alone: bool = False) -> None:
        """A CNAME; with `alone` the asker has to come again for the target."""
        entry = self._entry(name)
        entry.alias, entry.ttl, entry.alone = target, ttl, alone

    def fail(self, name: str, rcode: str = "NXDOMAIN", negative_ttl: int | None = 60) -> None:
        """A response without records. `negative_ttl` is the SOA's minimum in seconds, None leaves the SOA out."""
        entry = self._entry(name)
        entry.rcode, entry.negative_ttl = dns.rcode.from_text(rcode), negative_ttl

    def spoil(self, name: str, fault: Fault, only: str | None = None) -> None:
        """Misbehave for this name, for queries of the type `only` if it is given."""
        self._entry(name).faults.add((fault, only))

    def delay(self, name: str, seconds: float) -> None:
        """Answer later."""
        self._entry(name).delay = seconds

    def forget(self, name: str) -> None:
        """As if it had never been mentioned."""
        self._entries.pop(_key(name), None)

    def _entry(self, name: str) -> _Entry:
        return self._entries.setdefault(_key(name), _Entry())

    def wait_for_queries(self, count: int, timeout: float = 30.0) -> None:
        """Block until so many arrived."""
        with self._arrival:
            arrived = self._arrival.wait_for(lambda: len(self.queries) >= count, timeout)
        assert arrived, f"{len(self.queries)} of {count} queries arrived"

    def wait_for_query(self, name: str, timeout: float = 30.0) -> None:
        """Block until there was one for this name."""
        with self._arrival:
            arrived = self._arrival.wait_for(lambda: any(query.name == name for query in self.queries), timeout)
        assert arrived, f"nobody asked for {name}: {self.queries}"

    # --------------------------------------------------------------------------------------------------- its life

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self.loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def start(self) -> None:
        """On the server's own loop, as `stop` is."""
        tcp, udp = _bound_pair(self.address, self.port)
        self.port = tcp.getsockname()[1]
        self._tcp = await asyncio.start_server(self._serve_tcp, sock=tcp)
        self._udp, _ = await self.loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)

    async def stop(self) -> None:
        self._tcp.close()
        self._udp.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)

    # --------------------------------------------------------------------------------------------------- responses

    async def serve_udp(self, wire: bytes, asker: tuple[str, int]) -> None:
        query, entry, faults = self.received(wire, "udp", asker[1])
        if query is None:
            return
        response = self.response(query)
        if entry is not None:
            await asyncio.sleep(entry.delay)
        for forged in forgeries(response, faults):
            self._udp.sendto(forged, asker)
        if Fault.WRONG_PORT in faults:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
                elsewhere.sendto(_forged(response), asker)
        if Fault.NO_EDNS in faults and query.edns >= 0:
            self._udp.sendto(_form_error(query), asker)
        elif Fault.SILENCE not in faults:
            limit = 0 if Fault.TRUNCATION in faults else query.payload or 512
            self._udp.sendto(_fitting(response, limit), asker)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            wire = await reader.readexactly(size)
            query, entry, faults = self.received(wire, "tcp", writer.get_extra_info("peername")[1])
            if query is None:
                return
            response = self.response(query).to_wire(max_size=65535, prepend_length=True)
            if entry is not None:
                await asyncio.sleep(entry.delay)
            writer.write(response[: len(response) // 2] if faults & {Fault.CLOSE, Fault.STALL} else response)
            if Fault.STALL in faults:
                await reader.read()  # until the asker gives up
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the asker went away
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def received(
        self, wire: bytes, transport: str, source_port: int
    ) -> tuple[dns.message.Message | None, _Entry | None, set[Fault]]:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:  # some askers ask for anything
            return None, None, set()
        if not query.question:
            return None, None, set()
        name, kind = _key(query.question[0].name.to_text()), dns.rdatatype.to_text(query.question[0].rdtype)
        with self._arrival:
            self.queries.append(Query(name, kind, transport))
            self._arrival.notify_all()
        self.source_ports.append(source_port)
        self.ids.append(query.id)
        entry = self._entries.get(name)
        faults = {fault for fault, only in entry.faults if only in (None, kind)} if entry else set()
        return query, entry, faults

    def response(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = _key(question.name.to_text())
        while True:
            entry = self._entries.get(name)
            if entry is None or entry.rcode != dns.rcode.NOERROR:
                response.set_rcode(entry.rcode if entry else dns.rcode.NXDOMAIN)
                _add_soa(response, entry.negative_ttl if entry else 60)
                return response
            if entry.alias is None:
                _add_addresses(response, name, entry, dns.rdatatype.to_text(question.rdtype))
                return response
            response.answer.append(dns.rrset.from_text(f"{name}.", entry.ttl, "IN", "CNAME", f"{entry.alias}."))
            if entry.alone or len(response.answer) > 20:
                return response
            name = _key(entry.alias)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._server.serve_udp(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bound_pair(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same port, a free one for 0."""
    while True:
        tcp = socket.create_server((address, port))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp


def _key(name: str) -> str:
    return name.lower().removesuffix(".")


def _parsed(text: str) -> Address:
    address = parse_address(text)
    assert address is not None, text
    return address


def _add_addresses(response: dns.message.Message, name: str, entry: _Entry, kind: str) -> None:
    turn = entry.asked.get(kind, 0)
    entry.asked[kind] = turn + 1
    version = {"A": 4, "AAAA": 6}.get(kind)
    addresses = entry.sets[turn % len(entry.sets)] if entry.sets else []
    texts = [str(address) for address in addresses if address.version == version]
    for text in texts:  # one set each, since dnspython shuffles inside a set
        response.answer.append(dns.rrset.from_text(f"{name}.", entry.ttl, "IN", kind, text))
    if not texts:
        _add_soa(response, entry.negative_ttl)


def _add_soa(response: dns.message.Message, minimum: int | None) -> None:
    if minimum is not None:
        response.authority.append(dns.rrset.from_text(".", 86400, "IN", "SOA", SOA.format(minimum=minimum)))


def _fitting(response: dns.message.Message, limit: int) -> bytes:
    wire = response.to_wire(max_size=65535)
    if len(wire) <= limit:
        return wire
    response.answer.clear()
    response.authority.clear()
    response.flags |= dns.flags.TC
    return response.to_wire()


def _form_error(query: dns.message.Message) -> bytes:
    """A header alone."""
    flags = dns.flags.QR | dns.flags.RD
    return query.id.to_bytes(2, "big") + (flags | dns.rcode.FORMERR).to_bytes(2, "big") + bytes(8)


def forgeries(response: dns.message.Message, faults: set[Fault]) -> list[bytes]:
    """What a liar would send before the truth."""
    forged = []
    if Fault.WRONG_ID in faults:
        forged.append(_forged(response, id_=response.id ^ 1))
    if Fault.WRONG_QUESTION in faults:
        forged.append(_forged(response, name="forged.test."))
    if Fault.WRONG_CASE in faults:
        forged.append(_forged(response, name=response.question[0].name.to_text().swapcase()))
    if Fault.GARBAGE in faults:
        forged.append(response.id.to_bytes(2, "big") + b"\x81\x80\xff\xff")
    return forged


def _forged(response: dns.message.Message, id_: int | None = None, name: str | None = None) -> bytes:
    """A response that would lead to 203.0.113.66, if it were believed."""
    owner = name or response.question[0].name.to_text()
    kind = dns.rdatatype.to_text(response.question[0].rdtype)
    forged = dns.message.make_response(dns.message.make_query(owner, kind, id=response.id if id_ is None else id_))
    evil = "203.0.113.66" if kind == "A" else "2001:db8::66"
    forged.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, evil))
    return forged.to_wire()
