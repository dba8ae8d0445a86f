"""One kept connection to a name server that carries many questions at once (RFC 7766 section 6.2.1.1).

An answer that nobody waits for, or that is not to our question, is ignored. When the connection ends, all waiting
questions fail. It is closed after `IDLE_SECONDS` without a question.
"""

import asyncio
from typing import cast

import dns.exception
import dns.message

from gateway.net.dns.framing import Framing, Put
from gateway.net.dns.transport import Question, read_message

IDLE_SECONDS = 30.0


class Channel(asyncio.Protocol):
    """Made by `loop.create_connection`. `ready` is done when questions may be put."""

    def __init__(self, framing: Framing, idle: float = IDLE_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._framing = framing
        self._idle = idle
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: dict[int, tuple[dns.message.Message, asyncio.Future[dns.message.Message]]] = {}
        self._slots = asyncio.Semaphore(0)
        self._rest: asyncio.TimerHandle | None = None
        self._is_retired = False
        self._unanswered_since: float | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()

    def is_usable(self, silence: float) -> bool:
        """Whether it is open, and no question on it has waited for `silence` seconds with nothing received."""
        since = self._unanswered_since
        is_silent = since is not None and self._loop.time() - since >= silence
        return self._transport is not None and not self._is_retired and not is_silent

    async def ask(self, question: Question) -> dns.message.Message:
        """The response. Raises `ConnectionError` when the connection ends first or takes no more questions,
        `dns.exception.DNSException` for a malformed response."""
        async with self._slots:
            if self._transport is None:
                raise ConnectionResetError("the connection ended")
            number, query, data = self._put(question)
            answer: asyncio.Future[dns.message.Message] = self._loop.create_future()
            self._waiting[number] = query, answer
            self._transport.write(data)
            self._keep_awake()
            try:
                return await answer
            finally:
                self._forget(number)

    def _put(self, question: Question) -> Put:
        try:
            return self._framing.put(question)
        except ConnectionAbortedError:
            self.retire()
            raise

    def retire(self) -> None:
        """Take no more questions, and close as soon as none waits."""
        self._is_retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close in order, even if questions wait."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _keep_awake(self) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = self._loop.time()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _forget(self, number: int) -> None:
        self._waiting.pop(number, None)
        if self._transport is None:
            return
        self._framing.forget(number)
        self._transport.write(self._framing.pending())
        if self._waiting:
            return
        if self._is_retired:
            self.close()
        else:
            self._rest = self._loop.call_later(self._idle, self.retire)

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's class is no subclass of it
        self._transport.write(self._framing.greeting())
        self._rest = self._loop.call_later(self._idle, self.retire)
        self._notice_readiness()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._unanswered_since = None
        try:
            for number, outcome in self._framing.take(data):
                self._settle(number, outcome)
        except ConnectionAbortedError as error:
            self._end(error)
            self.abort()
            return
        if self._transport is not None:
            self._transport.write(self._framing.pending())
        self._notice_readiness()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`. The loop closes the connection; until then it takes no more questions."""
        self._is_retired = True

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        if self._rest is not None:
            self._rest.cancel()
        self._end(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"))

    def _notice_readiness(self) -> None:
        most = self._framing.most_at_once
        if most is not None and not self.ready.done():
            for _ in range(most):
                self._slots.release()
            self.ready.set_result(None)

    def _settle(self, number: int, outcome: bytes | OSError) -> None:
        query, answer = self._waiting.get(number, (None, None))
        if query is None or answer is None or answer.done():
            return
        if isinstance(outcome, OSError):
            answer.set_exception(outcome)
            return
        try:
            response = read_message(outcome)
        except dns.exception.DNSException as error:
            answer.set_exception(error)
            return
        if query.is_response(response):
            answer.set_result(response)

    def _end(self, error: OSError) -> None:
        self._is_retired = True
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # marked as seen: whoever opened the connection may have been cancelled
