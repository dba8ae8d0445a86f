"""The process in which inspectors of one declaration run: it reads questions from its standard input, which is a
socket, and answers them there, one after another. Nothing is looked at for exchanges that do not wait for it any more.

A method that takes too long is interrupted by a signal, and only its exchange fails; one that cannot be interrupted
keeps the process busy until the gateway kills it, or has itself been killed.
"""

import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from types import FrameType

import orjson

from gateway.intercept.hosted.frames import (
    CLOSE,
    DROP,
    READY,
    REFUSED,
    Frames,
    Question,
    encode_answer,
    encode_frame,
)
from gateway.intercept.hosted.kinds import BadInspector, build_kind
from gateway.intercept.inspecting.sessions import describe_bug, methods_of
from gateway.intercept.inspectors import Answer, Inspector
from gateway.net.kernel.parents import die_with_parent

_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""Sent to all processes of a terminal or a service: the gateway obeys them and ends this process."""

_READ = 256 * 1024
_LONGEST = 2**32
_NOT_ASKED = encode_frame("was not asked any more")


class _TooLong(BaseException):
    """Not an `Exception`, so that no `except Exception` of an inspector catches it."""


def main() -> None:
    """Answer questions until the gateway closes its end."""
    die_with_parent()
    with socket.socket(fileno=os.dup(0)) as channel:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)  # inspectors must not read the channel
        frames = Frames(_LONGEST)
        make: Callable[[], Inspector] | None = None
        serve = _Serving(channel)
        asked: deque[Question] = deque()
        while data := channel.recv(_READ):
            while data or asked:
                for head, content in frames.feed(data):
                    if make is None:
                        make = serve.begin(head)
                    else:
                        asked.append(serve.foresee(Question.decode(head, content)))
                if asked and make is not None:
                    serve.answer(asked.popleft(), make)
                data = _arrived(channel)


def _arrived(channel: socket.socket) -> bytes:
    """What has come meanwhile."""
    try:
        return channel.recv(_READ, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


class _Serving:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._open: dict[int, Inspector] = {}
        self._over: set[int] = set()  # sessions whose further answers do not matter, as after a failure or a denial
        self._timeout = 1.0
        self._is_calling = False
        signal.signal(signal.SIGALRM, self._interrupt)
        for number in _IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def begin(self, head: bytes) -> Callable[[], Inspector]:
        """The factory of inspectors, which the first frame names. Ends the process if they cannot be made."""
        _, kind, options, self._timeout = orjson.loads(head)
        try:
            make = build_kind(kind, options)
        except BadInspector as bad:
            self._channel.sendall(encode_frame([REFUSED, str(bad)[:1000]]))
            sys.exit(1)
        self._channel.sendall(encode_frame([READY, sorted(methods_of(make()))]))
        return make

    def foresee(self, question: Question) -> Question:
        """See, before its turn, whether it makes those before it needless."""
        if question.method in (DROP, CLOSE):
            self._over.add(question.session)
        return question

    def answer(self, question: Question, make: Callable[[], Inspector]) -> None:
        """Answer one question."""
        if question.method == DROP:
            return
        if question.method == CLOSE:
            self._open.pop(question.session, None)
            self._over.discard(question.session)
            return
        if question.session in self._over:
            self._channel.sendall(_NOT_ASKED)
            return
        try:
            self._is_calling = True
            signal.setitimer(signal.ITIMER_REAL, self._timeout, self._timeout)
            reply = self._reply(question, make)
            self._is_calling = False
        except _TooLong:
            self._is_calling = False
            self._over.add(question.session)
            reply = encode_frame(f"took longer than {self._timeout:g} s")
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._channel.sendall(reply)

    def _reply(self, question: Question, make: Callable[[], Inspector]) -> bytes:
        try:
            inspector = self._open.get(question.session)
            if inspector is None:
                inspector = self._open[question.session] = make()
            answer = _call(inspector, question)
            reply = encode_answer(answer)
            if answer.denial is not None:
                self._over.add(question.session)
            return reply
        except Exception as bug:  # noqa: BLE001  # whatever it raises is a failure of its own
            self._over.add(question.session)
            return encode_frame(describe_bug(bug))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Called again and again, until the method ends."""
        if self._is_calling:
            raise _TooLong


def _call(inspector: Inspector, question: Question) -> Answer:
    method = getattr(inspector, question.method)
    answer: Answer = method() if question.method.endswith("_end") else method(question.shown)
    return answer


if __name__ == "__main__":
    main()
