"""Destinations that fail: the client is told so in time and cannot take half of an answer for a whole one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.abuse.case import Case, Stage, connect, get, send
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.helpers.http_client import NotAResponse, ResponseReader
from tests.helpers.recording_origin import Answer

_CUT_OFF = ("less content than announced", "chunks without the last", "a chunk cut in its middle")
"""Even a proxy that passes everything does right by them: the client sees the fault."""
_GET = get("http://allowed.test:<web>/x", "Connection: close")
_POST = _GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello")
"""Never asked twice, while a GET on a kept connection may be."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n"


@dataclass(frozen=True)
class Answered:
    """The destination answers like this: the client is told one of `told`, or sees that the answer is not whole."""

    answer: Answer
    told: tuple[int, ...]
    sent: bytes = _GET

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        stage.world.web.will_answer((self.answer,))
        with stage.connect() as client:
            send(client, stage.filled(self.sent))
            try:
                response = ResponseReader(client).read()
            except TimeoutError:
                found = [wrong_answer("no answer in time")]
            except (NotAResponse, OSError, ValueError) as error:
                found = [escape(f"passed on as it came: {error!r}")]
            else:
                found = (
                    [wrong_answer("told nothing")]
                    if response is None
                    else self._judge(response.status, response.is_whole, response.content)
                )
        stage.world.web.will_answer(())
        return [*found, *stage.world.ordinary(stage.proxy, stage.patience)]

    def _judge(self, status: int, is_whole: bool, content: bytes) -> list[Complaint]:
        if status in self.told:
            return []
        if status < 400 and not is_whole:
            return []  # the client sees that it is cut off
        return [escape(f"told {status} with {len(content)} bytes, as if it were whole")]


def _of_answer(
    what: str, source: str, data: bytes, after: str = "close", *, reason: Reason | None = None, sent: bytes = _GET
) -> Case:
    play = Answered(Answer(data, after), (502, 503, 504), sent)
    shown = data if len(data) < 200 else data[:200] + b"..."
    expected = "502 to 504, or an answer that ends visibly too early"
    return Case("faults", what, source, shown, expected, play, reason, is_control=what in _CUT_OFF)


def _soon(status: tuple[int, ...], sent: bytes) -> Callable[[Stage], Sequence[Complaint]]:
    def play(stage: Stage) -> Sequence[Complaint]:
        began = time.monotonic()
        with stage.connect() as client:
            send(client, stage.filled(sent))
            try:
                answer = ResponseReader(client).peek_status()
            except OSError as error:
                return [wrong_answer(repr(error))]
        took = time.monotonic() - began
        found = [] if answer in status else [wrong_answer(f"told {answer}, not {status}")]
        late = [wrong_answer(f"only after {took:.1f} s")] if took > stage.patience else []
        return [*found, *late, *stage.world.ordinary(stage.proxy, stage.patience)]

    return play


_LATE = (502, 503, 504)
CASES: tuple[Case, ...] = (
    Case(
        "faults",
        "a port where nobody listens",
        "smokescreen TestProxyConnectFailure",
        connect("allowed.test:1"),
        "403 or 502 to 504, soon",
        _soon((403, *_LATE), connect("a.wild.test:1")),
        Reason.CONNECTION_REFUSED,
    ),
    _of_answer("nothing and a close", "C-058", b"", reason=Reason.CONNECTION_TERMINATED, sent=_POST),
    _of_answer("nothing and a reset", "C-058", b"", "reset", reason=Reason.CONNECTION_TERMINATED, sent=_POST),
    _of_answer("half a head", "A-145", b"HTTP/1.1 200 OK\r\nContent-Le", reason=Reason.RESPONSE_INCOMPLETE),
    _of_answer("half a head and a reset", "A-145", b"HTTP/1.1 200 OK\r\nContent-Le", "reset"),
    _of_answer(
        "less content than announced", "RFC 9112 section 8", _HEAD + b"\r\nhello", reason=Reason.RESPONSE_INCOMPLETE
    ),
    _of_answer(
        "chunks without the last",
        "RFC 9112 section 8",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        reason=Reason.RESPONSE_INCOMPLETE,
    ),
    _of_answer(
        "a chunk cut in its middle",
        "RFC 9112 section 8",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
        reason=Reason.RESPONSE_INCOMPLETE,
    ),
    _of_answer("TLS in place of HTTP", "C-056", bytes((21, 3, 3, 0, 2, 2, 40)), reason=Reason.MALFORMED_RESPONSE),
    _of_answer("garbage in place of HTTP", "A-145", bytes(range(1, 256)), reason=Reason.MALFORMED_RESPONSE),
    _of_answer("HTTP/0.9", "A-145", b"<html>hello</html>", reason=Reason.MALFORMED_RESPONSE),
    _of_answer(
        "a head of 1 MB",
        "squid reply_header_max_size",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
        reason=Reason.RESPONSE_HEAD_TOO_LARGE,
    ),
    _of_answer(
        "a switch that nobody asked for",
        "RFC 9110 section 15.2.2",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nevil",
        reason=Reason.MALFORMED_RESPONSE,
    ),
)
