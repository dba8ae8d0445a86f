"""The name server of `dns_server`, reached over TLS as well: DoT or DoH on a port of its own.

with SecureDnsServer(authority.server_context("127.0.0.1"), over="dot") as dns:
    dns.answer("x.test", "203.0.113.5")
    ...                                   # point the gateway at dns.address, dns.tls_port
    assert dns.connections == 1           # handshakes that succeeded
    dns.kill()                            # every connection is reset, nobody listens any more
    dns.revive()                          # on the same port
"""

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any, Literal, cast

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.helpers.dns_server import ADDRESS, DnsServer, Fault, forgeries
from tests.helpers.ports import held_port, port_of


class SecureDnsServer(DnsServer):
    """`status` and `media_type` are those of every DoH answer; `paths` what was asked for; `sizes` of all questions."""

    def __init__(self, context: ssl.SSLContext, over: Literal["dot", "doh"]) -> None:
        super().__init__()
        self.over = over
        self.tls_port = 0
        self.connections = 0
        self.status, self.media_type = "200", "application/dns-message"
        self.paths: list[str] = []
        self.sizes: list[int] = []
        self.most_streams = 100
        self._context = context
        if over == "doh":
            context.set_alpn_protocols(["h2"])
        self.live: set[asyncio.Transport] = set()

    async def start(self) -> None:
        await super().start()
        self._held = held_port()
        self.tls_port = port_of(self._held)
        await self._listen()

    async def stop(self) -> None:
        await self._stop_listening()
        self._held.close()
        await super().stop()

    def kill(self) -> None:
        """Nobody is there any more."""
        self._run(self._stop_listening())

    def revive(self) -> None:
        """At the same place."""
        self._run(self._listen())

    def hang_up(self) -> None:
        """Close every connection in an orderly way, as a server does with idle ones."""

        async def close() -> None:
            for transport in list(self.live):
                transport.close()

        self._run(close())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _listen(self) -> None:
        kind = _DotConnection if self.over == "dot" else _DohConnection
        self._tls = await self.loop.create_server(lambda: kind(self), ADDRESS, self.tls_port, ssl=self._context)

    async def _stop_listening(self) -> None:
        self._tls.close()
        for transport in list(self.live):
            transport.abort()
        await asyncio.sleep(0.01)


class _Connection(asyncio.Protocol):
    def __init__(self, server: SecureDnsServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections += 1
        self._server.live.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.live.discard(self.transport)

    def answer_later(self, wire: bytes, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(wire, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, wire: bytes, number: int) -> None:
        server = self._server
        server.sizes.append(len(wire))
        query, entry, faults = server.received(wire, server.over, self.transport.get_extra_info("peername")[1])
        if query is None:
            return
        response = server.response(query)
        if entry is not None:
            await asyncio.sleep(entry.delay)
        if Fault.CLOSE in faults:
            self.transport.abort()
            return
        for forged in forgeries(response, faults):
            self.send(forged, number)
        if Fault.SILENCE not in faults:
            self.send(response.to_wire(max_size=65535), number)

    def send(self, wire: bytes, number: int) -> None:
        raise NotImplementedError


class _DotConnection(_Connection):
    def __init__(self, server: SecureDnsServer) -> None:
        super().__init__(server)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 2 and len(self._received) >= 2 + int.from_bytes(self._received[:2], "big"):
            end = 2 + int.from_bytes(self._received[:2], "big")
            wire, self._received = self._received[2:end], self._received[end:]
            self.answer_later(wire, 0)

    def send(self, wire: bytes, number: int) -> None:
        self.transport.write(len(wire).to_bytes(2, "big") + wire)


class _DohConnection(_Connection):
    def __init__(self, server: SecureDnsServer) -> None:
        super().__init__(server)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        most = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._server.most_streams}
        self._http.local_settings = h2.settings.Settings(client=False, initial_values=most)
        self._http.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._http.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._bodies[event.stream_id] = b""
                    self._server.paths.append(str(dict(event.headers)[":path"]))  # type: ignore[index] # text, by header_encoding
                case h2.events.DataReceived():
                    self._bodies[event.stream_id] += event.data
                    self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.answer_later(self._bodies.pop(event.stream_id), event.stream_id)
                case h2.events.StreamReset():
                    self._waiting.pop(event.stream_id, None)
        self._send_waiting()

    def send(self, wire: bytes, number: int) -> None:
        if self._http.state_machine.state is h2.connection.ConnectionState.CLOSED:
            return
        head = [(":status", self._server.status), ("content-type", self._server.media_type)]
        self._http.send_headers(number, head)
        self._waiting[number] = wire
        self._send_waiting()

    def _send_waiting(self) -> None:
        """As far as the client's windows allow: one read of its may bring more questions than fit their answers."""
        for number, wire in list(self._waiting.items()):
            if len(wire) > self._http.local_flow_control_window(number):
                break
            self._http.send_data(number, self._waiting.pop(number), end_stream=True)
        self._flush()

    def _flush(self) -> None:
        self.transport.write(self._http.data_to_send())
