"""An origin that speaks HTTP/2 inside TLS and answers each request as a test says."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.helpers.origins import Origin, Visit

Fields = list[tuple[str, str]]


@dataclass
class Asked:
    """One request, all of it unless its answer does not wait for that."""

    stream: int
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    visit: int = 0

    def value(self, name: str) -> str:
        """Of the first field of that name; empty without one."""
        return next((value for each, value in self.fields if each == name), "")


class Speaking:
    """One connection, in the hands of the function that answers."""

    def __init__(self, connection: socket.socket, h2c: h2.connection.H2Connection, number: int) -> None:
        self.socket = connection
        self.h2 = h2c
        self.number = number

    def flush(self) -> None:
        """Send what is to be sent."""
        self.socket.sendall(self.h2.data_to_send())

    def reply(self, stream: int, body: bytes = b"hello\n", *fields: tuple[str, str], trailers: Fields = []) -> None:  # noqa: B006
        """200 with content that fits the windows."""
        self.h2.send_headers(stream, [(":status", "200"), *fields])
        self.h2.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()


Answer = Callable[[Speaking, Asked], None]


def plain(speaking: Speaking, asked: Asked) -> None:
    """200 with a few bytes."""
    speaking.reply(asked.stream)


@dataclass
class Http2Origin:
    """`answers` by path; every other path is answered by `plain`. `early` are answered with their head, `echoes`: those
    by extended CONNECT are, piece by piece, unless their path has an answer to each piece."""

    context: ssl.SSLContext
    answers: Mapping[str, Answer] = field(default_factory=dict)
    early: frozenset[str] = frozenset()
    requests: list[Asked] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)
    echoes: bool = True
    streams: int = 128
    goaways: int = 0

    def __enter__(self) -> "Http2Origin":
        self.context.set_alpn_protocols(["h2"])
        self.origin = Origin(self._serve, "127.0.0.1", 0)
        self.port = self.origin.port
        return self

    def __exit__(self, *_: object) -> None:
        self.origin.close()

    @property
    def connections(self) -> int:
        """That were accepted."""
        return len(self.origin.visits)

    def _serve(self, connection: socket.socket, visit: Visit) -> None:
        number = len(self.origin.visits)
        with (
            contextlib.suppress(ssl.SSLError, OSError, h2.exceptions.ProtocolError),
            self.context.wrap_socket(connection, server_side=True) as secure,
        ):
            speaking = Speaking(secure, self._connection(), number)
            speaking.flush()
            asked: dict[int, Asked] = {}
            while data := secure.recv(65536):
                visit.received += data
                for event in speaking.h2.receive_data(data):
                    self._heed(speaking, event, asked)
                speaking.flush()

    def _connection(self) -> h2.connection.H2Connection:
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=False
        )
        made = h2.connection.H2Connection(config)
        if self.echoes:
            codes = h2.settings.SettingCodes
            said = {codes.ENABLE_CONNECT_PROTOCOL: 1, codes.MAX_CONCURRENT_STREAMS: self.streams}
            made.local_settings = h2.settings.Settings(client=False, initial_values=said)
        made.initiate_connection()
        return made

    def _heed(self, speaking: Speaking, event: h2.events.Event, asked: dict[int, Asked]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            one = Asked(event.stream_id, [(str(n), str(v)) for n, v in event.headers], visit=speaking.number)
            asked[event.stream_id] = one
            self.requests.append(one)
            if one.value(":protocol"):
                speaking.h2.send_headers(event.stream_id, [(":status", "200")])
            elif one.value(":path") in self.early:
                self.answers[one.value(":path")](speaking, one)
        elif isinstance(event, h2.events.DataReceived):
            one = asked[event.stream_id]
            one.body += event.data
            speaking.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if one.value(":protocol") and event.data:
                answer = self.answers.get(one.value(":path"))
                if answer is None:
                    speaking.h2.send_data(event.stream_id, event.data)
                else:
                    answer(speaking, one)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append((event.stream_id, int(event.error_code)))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaways += 1
        else:
            self._heed_end(speaking, event, asked)

    def _heed_end(self, speaking: Speaking, event: h2.events.Event, asked: dict[int, Asked]) -> None:
        if isinstance(event, h2.events.TrailersReceived):
            asked[event.stream_id].trailers = [(str(n), str(v)) for n, v in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            one = asked[event.stream_id]
            if one.value(":protocol"):
                speaking.h2.end_stream(event.stream_id)
            elif one.value(":path") not in self.early:
                self.answers.get(one.value(":path"), plain)(speaking, one)
