"""The interface of the two codecs, and the choice between them.

Both keep the rule for parsers (value, None or Malformed) in terms of events: how a message is cut into segments changes
nothing but where its body data is cut, no prefix of a valid message is malformed, and what is malformed stays so.
"""

from typing import Literal, Protocol

from gateway.wire.http.content import Bounds as Bounds
from gateway.wire.http.messages import Event
from gateway.wire.http.readers import WitnessedRequestReader, WitnessedResponseReader
from gateway.wire.http.witness import Witness
from gateway.wire.http.witness_h11 import H11Witness
from gateway.wire.http.witness_llhttp import LlhttpWitness

Kind = Literal["auto", "httptools", "h11"]


DEFAULT_BOUNDS = Bounds()


class RequestReader(Protocol):
    """Reads requests one at a time: after an `End` it is paused until `proceed`.

    So a pipelined request is not read before the one ahead of it is answered, and after an answer that switches
    protocols what came early is `leftover`. While the reader is paused its caller reads no further from the connection.
    """

    def is_between(self) -> bool:
        """Whether no byte of the next request has come: the one time at which the client may close without fault."""

    @property
    def leftover(self) -> bytes:
        """What came after the `End` that paused it; empty while it is not paused."""

    def receive(self, data: bytes) -> list[Event]:
        """The events that `data` completes, and the body data in it. While paused there are none, and it is kept.

        Raises `MalformedMessage`, at this and at every later call.
        """

    def receive_end(self) -> list[Event]:
        """The client sends no more. Raises `MalformedMessage` within a request, empty lines before one aside."""

    def proceed(self) -> list[Event]:
        """Go on to the next request; the events of what has come of it already. Raises `MalformedMessage`."""


class ResponseReader(Protocol):
    """Reads the responses to one request at a time: interim ones as a `Response` each, then the final one to its `End`.

    What comes after that, as well as after a 101 and a CONNECT's 2xx, is `leftover`: the other protocol, or bytes that
    nobody asked for, after which the connection must not be used again.
    """

    def is_between(self) -> bool:
        """Whether a request may be sent: the last answer is complete, nothing came after it, and HTTP was not ended on
        this connection by a 101 or a CONNECT's 2xx."""

    @property
    def leftover(self) -> bytes:
        """What came after the last `End`."""

    def expect(self, method: str, *, upgrade: bool = False) -> None:
        """A request with this method is about to be sent; `upgrade` if it may be answered by a 101. Raises
        `MalformedMessage` if something is `leftover` (an answer before its request), or HTTP has ended here."""

    def receive(self, data: bytes) -> list[Event]:
        """As for requests. What comes before anything is expected is left over. Raises `MalformedMessage`."""

    def receive_end(self) -> list[Event]:
        """The origin sends no more: the `End` of content until close. Raises `MalformedMessage` within a response."""


class Codec(Protocol):
    """Makes readers, one for each side of a connection."""

    def request_reader(self, bounds: Bounds = DEFAULT_BOUNDS) -> RequestReader: ...

    def response_reader(self, bounds: Bounds = DEFAULT_BOUNDS) -> ResponseReader: ...


class _WitnessedCodec:
    """A `Codec` whose readers share one witness. It is stateless; one serves a whole process."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def request_reader(self, bounds: Bounds = DEFAULT_BOUNDS) -> RequestReader:
        return WitnessedRequestReader(self._witness, bounds)

    def response_reader(self, bounds: Bounds = DEFAULT_BOUNDS) -> ResponseReader:
        return WitnessedResponseReader(self._witness, bounds)


_WITNESSES: dict[Kind, type[Witness]] = {"auto": LlhttpWitness, "httptools": LlhttpWitness, "h11": H11Witness}


def open_codec(kind: Kind) -> Codec:
    """`auto` is httptools."""
    return _WitnessedCodec(_WITNESSES[kind]())
