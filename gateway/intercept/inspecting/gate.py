"""One direction's content on its way past the inspectors: shown to them decoded, released as it was sent.

A byte is released once every inspector has answered for it and none holds it back. Content with a coding is released in
the pieces in which it was sent, each when all that was decoded of it has been cleared.

What waits is bounded twice. While answers are outstanding no more than `AHEAD` is decoded, and whoever feeds the gate
waits. What an inspector holds back until more arrives cannot be waited for: more is read, up to `MOST`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf

from gateway.intercept.inspecting.decoding import Decoder, Undecodable
from gateway.intercept.inspectors import Answer
from gateway.model.inspection.watching import FULL, Sink

TURN = 1024 * 1024
"""Bytes that are decoded and shown without a pause; then the loop has its turn."""
AHEAD = 256 * 1024
"""Bytes that were shown and not answered, beyond which no more is decoded: a few coded ones may become very many."""
PIECES_AHEAD = 256
"""Pieces that were shown and not answered, likewise: one of a single byte costs little less than a large one."""
SMALL = 1024
"""Bytes up to which pieces that arrive one by one are joined."""
MOST = 1024 * 1024
"""Bytes, as they were sent, that may wait."""

Reply = Callable[[Answer | None], None]
Ask = Callable[[str, object, Reply], None]
"""Shows something to an inspector: the method's name, what to show, and what is called with the answer, at once or
later, in the order of asking. None as the answer: it looks no more."""


class Reader:
    """One inspector's reading of one direction, `request` or `response`. `cleared` is up to where, in decoded bytes,
    content may go on."""

    def __init__(self, ask: Ask, direction: str) -> None:
        self.cleared: float = 0
        self.is_finished = False
        self.moved: Callable[[], None] = lambda: None
        self._ask = ask
        self._chunk, self._end = f"{direction}_chunk", f"{direction}_end"
        self._shown = 0
        self._answered = 0
        self._unanswered = 0
        self._has_all = False
        self._is_complete = False

    @property
    def ahead(self) -> int:
        """Bytes that were shown and not answered yet."""
        return 0 if self.is_finished else self._shown - self._answered

    @property
    def is_asked(self) -> bool:
        """Whether it has anything to answer."""
        return not self.is_finished and (self._unanswered > 0 or self._has_all)

    @property
    def is_far_behind(self) -> bool:
        """Whether it has so much to answer that no more is to be shown."""
        return self.ahead > AHEAD or (not self.is_finished and self._unanswered >= PIECES_AHEAD)

    def show(self, piece: bytes) -> None:
        """Show the next piece."""
        if self.is_finished:
            return
        self._shown += len(piece)
        self._unanswered += 1
        self._ask(self._chunk, piece, partial(self._clear, self._shown))

    def finish(self) -> None:
        """No piece follows."""
        if not self.is_finished:
            self._has_all = True
            self._ask(self._end, None, self._complete)

    def _clear(self, until: int, answer: Answer | None) -> None:
        self._unanswered -= 1
        self._answered = until
        if answer is not None:
            self.cleared = max(self.cleared, until - max(0, answer.hold))
        self._conclude(is_done=answer is None or answer.done)

    def _complete(self, answer: Answer | None) -> None:
        """The end was answered, perhaps before some pieces: it is so at once if the inspector does not look at it."""
        self._is_complete = True
        self._conclude(is_done=False)

    def _conclude(self, is_done: bool) -> None:
        if is_done or (self._is_complete and not self._unanswered):
            self.is_finished = True
            self.cleared = inf
        self.moved()


class _Piece:
    """A piece as it was sent. `end` is where it ends in decoded content, infinite until that is known."""

    __slots__ = ("data", "end")

    def __init__(self, data: bytes, end: float = inf) -> None:
        self.data = data
        self.end = end


class ContentGate:
    """Fulfils `watching.Gate`. `decoder` None: content has no coding. `object_to` is called if content cannot be
    decoded, `ring` when something was released later than it was fed."""

    def __init__(
        self,
        readers: Sequence[Reader],
        decoder: Decoder | None,
        object_to: Callable[[str], None],
        ring: Callable[[], None],
    ) -> None:
        self._readers = readers
        self._decoder = decoder
        self._object_to = object_to
        self._ring = ring
        self._sink: Sink | None = None
        self._queue: deque[_Piece] = deque()
        self._coded: deque[_Piece] = deque()
        self._pieces: Iterator[bytes] | None = None
        self._decoded = 0
        self._gone = 0  # released bytes of content without a coding
        self._let_go: list[bytes] = []
        self._is_busy = False
        self._has_turn_to_come = False
        self._is_held_up = False
        self._is_complete = False
        self._is_told = False
        self._is_shut = False
        self.waiting = 0
        self.has_ended = False
        for reader in readers:
            reader.moved = self._moved

    # Called by the exchange.

    @property
    def is_full(self) -> bool:
        """See `Gate`."""
        return self.waiting > FULL and (bool(self._coded) or any(reader.ahead for reader in self._readers))

    def feed(self, data: bytes) -> None:
        """See `Gate`."""
        if self._is_shut or not data:
            return
        self.waiting += len(data)
        if not self._joins_the_last(data):
            piece = _Piece(data)
            self._queue.append(piece)
            self._coded.append(piece)
        self._work()
        if self.waiting > MOST:
            self._object_to(f"more than {MOST} bytes are held back until more comes")

    def _joins_the_last(self, data: bytes) -> bool:
        """Add it to the piece before, if both are small and nobody has begun to look at that. True: it was added."""
        if len(self._coded) < 2 or len(self._coded[-1].data) + len(data) > SMALL:  # the first may have been begun
            return False
        self._coded[-1].data += data
        return True

    def finish(self) -> None:
        """See `Gate`."""
        if not self._is_complete:
            self._is_complete = True
            self._work()

    def open_to(self, sink: Sink) -> None:
        """See `Gate`."""
        self._sink = sink
        let_go, self._let_go = self._let_go, []
        for data in let_go:
            sink.passed(data)
        if self.has_ended:
            sink.ended()

    # Called by the watch.

    @property
    def is_asking(self) -> bool:
        """Whether an inspector has anything to answer."""
        return any(reader.is_asked for reader in self._readers)

    def shut(self) -> None:
        """Release nothing from now on."""
        self._is_shut = True
        self._readers = ()
        self._queue.clear()
        self._coded.clear()
        self._let_go.clear()
        self.waiting = 0

    def retire(self) -> None:
        """Shut for good: let go of the callbacks too, or they and the gate would keep each other alive."""
        self.shut()
        self._sink = None
        self._object_to = _unheard
        self._ring = _nothing

    def leave_open(self) -> None:
        """No inspector looks any more: everything passes."""
        self._look_no_more()
        self._moved()

    # Showing.

    def _work(self) -> None:
        """Decode and show what has come, as far as `TURN` and the inspectors allow."""
        if self._is_busy or self._has_turn_to_come or self._is_held_up:
            return
        self._is_busy = True
        try:
            if not self._show_all():
                self._go_on_later()
            elif self._is_complete and not self._is_told:
                self._tell_end()
        except Undecodable as why:
            self._object_to(str(why))
        finally:
            self._is_busy = False
        self._release()

    def _go_on_later(self) -> None:
        """Go on when the inspectors have caught up or, if they have, in another turn of the loop."""
        self._is_held_up = self._is_far_ahead()
        self._has_turn_to_come = not self._is_held_up
        if self._has_turn_to_come:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _is_far_ahead(self) -> bool:
        return any(reader.is_far_behind for reader in self._readers)

    def _go_on(self) -> None:
        self._has_turn_to_come = False
        self._work()
        self._ring()

    def _show_all(self) -> bool:
        """False: there is more to show later."""
        room = TURN
        while self._coded and self._readers:
            piece = self._coded[0]
            if self._pieces is None:
                self._pieces = iter((piece.data,)) if self._decoder is None else self._decoder.pieces(piece.data)
            for shown in self._pieces:
                self._decoded += len(shown)
                room -= len(shown)
                for reader in self._readers:
                    reader.show(shown)
                if room <= 0 or self._is_far_ahead():
                    return False
                if not self._readers:
                    break
            self._pieces = None
            piece.end = self._decoded
            if self._coded:
                self._coded.popleft()
        return True

    def _tell_end(self) -> None:
        self._is_told = True
        if self._decoder is not None:
            self._decoder.finish()
        for reader in self._readers:
            reader.finish()

    # Releasing.

    def _moved(self) -> None:
        """An inspector has answered, perhaps while it was being shown something."""
        if self._is_busy:
            return
        if self._is_held_up and not self._is_far_ahead():
            self._is_held_up = False
            self._work()
        else:
            self._release()
        self._ring()

    def _release(self) -> None:
        if self._is_shut or self.has_ended:
            return
        if all(reader.is_finished for reader in self._readers):
            self._look_no_more()
        cleared = min((reader.cleared for reader in self._readers), default=inf)
        while self._queue and self._queue[0].end <= cleared:
            self._pass(self._queue.popleft().data)
        if self._queue and self._decoder is None:
            self._split(self._queue[0], int(cleared) - self._gone)
        if self._is_complete and not self._queue and not self._readers:
            self.has_ended = True
            if self._sink is not None:
                self._sink.ended()

    def _look_no_more(self) -> None:
        self._readers = ()
        self._decoder = None
        self._pieces = None
        self._coded.clear()

    def _split(self, piece: _Piece, size: int) -> None:
        if size > 0:
            data, piece.data = piece.data[:size], piece.data[size:]
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        self.waiting -= len(data)
        self._gone += len(data)
        if self._sink is not None:
            self._sink.passed(data)
        else:
            self._let_go.append(data)


def _unheard(why: str) -> None:
    """The exchange is over."""


def _nothing() -> None:
    """The exchange is over."""
