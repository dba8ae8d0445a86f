"""Third-party inspectors, each declaration in a process of its own, which is killed if it does not answer.

The deadline of a question begins when the one before it was answered: no exchange pays for another's question. The
process interrupts a slow method itself. Only if that fails it is killed, and the exchanges fail that had a question in
it; the next exchange starts another process.
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from gateway.intercept.hosted.frames import (
    CLOSE,
    DROP,
    MAX_REPLY,
    Broken,
    Frames,
    Question,
    beginning,
    parse_beginning,
    parse_reply,
)
from gateway.intercept.hosted.kinds import BadInspector
from gateway.intercept.inspecting.sessions import METHODS, Answered, Failed
from gateway.intercept.inspectors import Answer

GRACE = 0.5
"""Seconds beyond the inspector's time-out in which its process may report that it was too slow."""
START_SECONDS = 30.0
MOST_STARTS, START_WINDOW = 10, 10.0
"""Starts within so many seconds at most: a process that keeps ending must not keep the machine busy."""
REAP_SECONDS = 0.02
MOST_TIMEOUTS_WAITED = 8
"""How many times its own time-out a question waits at most for those before it."""

_COMMAND = (sys.executable, "-P", "-m", "gateway.intercept.hosted.child")
_logger = logging.getLogger(__name__)


class Declaration(NamedTuple):
    """A declaration, by its `name` in gateway.yaml. `kind` is an installed one; `timeout` is how many seconds a method
    may take."""

    name: str
    kind: str
    options: Mapping[str, Any]
    timeout: float


class _Pending:
    __slots__ = ("answered", "asked_at", "session")

    def __init__(self, session: int, answered: Answered, asked_at: float) -> None:
        self.session = session
        self.answered = answered
        self.asked_at = asked_at


class HostedKind:
    """Opens sessions with inspectors of one declaration. Bound to the running loop."""

    def __init__(self, declaration: Declaration, methods: frozenset[str] = frozenset(METHODS)) -> None:
        """`methods` are those that its inspectors implement, as far as is known; the process reports them."""
        self.methods = methods
        self._declaration = declaration
        self._process: _Process | None = None
        self._sessions = 0
        self._next = 0
        self._is_retired = False
        self._starts: deque[float] = deque(maxlen=MOST_STARTS)

    def start(self) -> None:
        """Start a process, so that the next exchange need not wait for one."""
        if self._process is not None and not self._process.is_over:
            return
        now = asyncio.get_running_loop().time()
        if self._process is None or len(self._starts) < MOST_STARTS or now - self._starts[0] > START_WINDOW:
            self._starts.append(now)
            self._process = _Process(self._declaration, self._learn)

    def _learn(self, methods: frozenset[str]) -> None:
        self.methods = methods

    def open(self) -> "HostedSession":
        """A session for one exchange."""
        self._next += 1
        self._sessions += 1
        return HostedSession(self, self._next)

    def process(self) -> "_Process":
        """The process for new sessions; one that has ended if too many were started lately."""
        self.start()
        return cast("_Process", self._process)

    def closed(self) -> None:
        """A session is over."""
        self._sessions -= 1
        self._end_if_idle()

    def retire(self) -> None:
        """No exchange begins with it any more; the process ends with the last one."""
        self._is_retired = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_retired and not self._sessions and self._process is not None:
            self._process.end("is not declared any more")


class HostedSession:
    """Fulfils `sessions.Session`. It stays with the process that its first question went to."""

    __slots__ = ("_is_closed", "_kind", "_number", "_process")

    def __init__(self, kind: HostedKind, number: int) -> None:
        self._kind = kind
        self._number = number
        self._process: _Process | None = None
        self._is_closed = False

    @property
    def methods(self) -> frozenset[str]:
        """See `Session`."""
        return self._kind.methods

    def ask(self, method: str, shown: Any, answered: Answered) -> None:
        """See `Session`."""
        if self._process is None:
            self._process = self._kind.process()
        self._process.ask(Question(self._number, method, shown), answered)

    def close(self) -> None:
        """See `Session`."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._process is not None:
            self._process.close(self._number)
        self._kind.closed()


class _Process(asyncio.Protocol):
    """One process, from its start to its end. Questions that are asked before it is ready wait for it."""

    def __init__(self, declaration: Declaration, learn: Callable[[frozenset[str]], None]) -> None:
        self.is_over = False
        self._declaration = declaration
        self._learn = learn
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(MAX_REPLY)
        self._pending: deque[_Pending] = deque()
        self._waiting: deque[_Pending] = deque()  # those of `_pending` whose turn may still come in time
        self._sessions: set[int] = set()  # that have asked and are not closed
        self._unsent: list[bytes] = []
        self._is_ready = False
        self._transport: asyncio.Transport | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watchdog: asyncio.TimerHandle = self._loop.call_later(START_SECONDS, self.end, "did not start in time")
        self._dying: asyncio.Task[None] | None = None
        self._running = self._loop.create_task(self._run(), name=f"inspector {declaration.name}")

    # Called by sessions.

    def ask(self, question: Question, answered: Answered) -> None:
        """Answered later, in order."""
        if self.is_over:
            self._loop.call_soon(answered, Failed("its process has ended"))
            return
        self._sessions.add(question.session)
        pending = _Pending(question.session, answered, self._loop.time())
        self._pending.append(pending)
        self._waiting.append(pending)
        self._send(question.encode())
        if self._is_ready and len(self._pending) == 1:
            self._watch()

    def close(self, session: int) -> None:
        """Drop the questions of this session."""
        if not self.is_over:
            self._sessions.discard(session)
            self._send(Question(session, CLOSE, None).encode())

    def end(self, why: str) -> None:
        """End it at once; everything that waits for it fails with the reason."""
        if self.is_over:
            return
        self.is_over = True
        self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
        if self._child is not None:
            self._dying = self._loop.create_task(_reap(self._child))
        pending, self._pending = self._pending, deque()
        self._waiting.clear()
        if pending:
            _logger.warning("inspector %s: its process %s", self._declaration.name, why)
        for each in pending:
            each.answered(Failed(f"its process {why}"))

    # Its life.

    async def _run(self) -> None:
        try:
            ours, child = await asyncio.to_thread(_start)
        except (OSError, RuntimeError) as error:  # the latter where no thread can be started
            self.end(f"cannot be started: {getattr(error, 'strerror', error)}")
            return
        self._child = child
        if self.is_over:
            ours.close()
            await _reap(child)
        else:
            ours.setblocking(False)
            await self._loop.create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        declaration = self._declaration
        self._transport.write(beginning(declaration.kind, declaration.options, declaration.timeout))
        for frame in self._unsent:
            self._transport.write(frame)
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        try:
            for head, _ in self._frames.feed(data):
                if self._is_ready:
                    self._answer(head)
                else:
                    self._begin(head)
        except Broken:
            self.end("sent an invalid answer")

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("has ended")

    def _begin(self, head: bytes) -> None:
        try:
            self._learn(parse_beginning(head))
        except BadInspector as bad:
            _logger.warning("inspector %s: %s", self._declaration.name, bad)
            self.end("could not make the inspector")
            return
        self._is_ready = True
        now = self._loop.time()  # what they waited for until now was no other question
        for each in self._pending:
            each.asked_at = now
        self._watch()

    def _answer(self, head: bytes) -> None:
        if not self._pending:
            raise Broken
        answer = parse_reply(head)
        answered = self._pending.popleft().answered
        self._watch()
        answered(answer)

    def _watch(self) -> None:
        """The next question is being worked on."""
        self._watchdog.cancel()
        if not self._pending:
            return
        if self._waiting and self._waiting[0] is self._pending[0]:
            self._waiting.popleft()
        seconds = self._declaration.timeout + GRACE
        self._watchdog = self._loop.call_later(seconds, self.end, f"did not answer within {seconds:g} s")
        self._fail_overdue()

    def _fail_overdue(self) -> None:
        """Questions that waited too long for others fail; their answers are dropped when they come."""
        long_ago = self._loop.time() - self._declaration.timeout * MOST_TIMEOUTS_WAITED
        while self._waiting and self._waiting[0].asked_at <= long_ago:
            each = self._waiting.popleft()
            self._loop.call_soon(each.answered, Failed("its process was busy for too long"))
            each.answered = _unheard
            if each.session in self._sessions:  # the process forgets what is closed, and must not keep it again
                self._send(Question(each.session, DROP, None).encode())

    def _send(self, frame: bytes) -> None:
        if self._transport is None:
            self._unsent.append(frame)
        else:
            self._transport.write(frame)


async def _reap(child: "subprocess.Popen[bytes]") -> None:
    """Kill and reap it. No thread waits for it while it lives: there are few threads for all that blocks. Where
    none can be started it is asked now and then."""
    child.kill()
    try:
        await asyncio.to_thread(child.wait)
    except RuntimeError:
        while child.poll() is None:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(REAP_SECONDS)


def _unheard(answer: Answer | Failed) -> None:
    """The session waits for the answer no longer."""


def _start() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Start the process, and the socket to it. Blocks. Descriptors are not closed one by one, as exec closes ours (PEP
    446)."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(  # noqa: S603  # this interpreter and a module of ours
            _COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, close_fds=False
        )
    return ours, child


def probe(declaration: Declaration) -> None:
    """Raise `BadInspector` if such inspectors cannot be made. Blocks while a process tries."""
    try:
        ours, child = _start()
    except OSError as error:
        raise BadInspector(f"no process for it could be started: {error.strerror}") from error
    try:
        with ours:
            ours.settimeout(START_SECONDS)
            ours.sendall(beginning(declaration.kind, declaration.options, declaration.timeout))
            parse_beginning(_first_frame(ours))
    finally:
        child.kill()
        child.wait()


def _first_frame(ours: socket.socket) -> bytes:
    frames = Frames(MAX_REPLY)
    try:
        while data := ours.recv(MAX_REPLY):
            for head, _ in frames.feed(data):
                return head
    except (OSError, Broken):
        pass
    raise BadInspector(f"its process did not start within {START_SECONDS:g} s")
