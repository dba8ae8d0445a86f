"""Clients, destinations and time in any order: hypothesis plays a connection as a state machine, and after every step
the laws of the walk hold.

- nothing is dialled but what a rule allows, and at most once;
- the destination reads a prefix of what the client sent after its head, and on a `tls` rule nothing before a whole
  hello with the right name;
- there is at most one record, and exactly one when it is over; no lease, alarm or stream stays.
"""

import asyncio
import contextlib
import socket

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.model.errors import UpstreamError
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.serve import connection
from gateway.serve.services import Services
from tests.helpers.client_hello import build_client_hello
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import reset, stream_and_peer
from tests.helpers.unlimited import Unlimited
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import build
from tests.policy.builders import rule as allow
from tests.telemetry.drafts import accepted
from tests.wire.feeding import UNSHRUNK

RULES = build(allow("tcp", "tcp.test", protocol=Protocol.TCP), allow("tls", "tls.test"))
ALLOWED = ("tcp.test", "tls.test")
HOSTS = ("tls.test", "tcp.test", "TLS.Test", "denied.test", "tls.test.evil.test")
NO_CONNECT = (b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x05\x01\x00", b"CONNECT tls.test:443\n\n", b"CONN")
HELLO, OTHER = build_client_hello("tls.test"), build_client_hello("other.test")
TURNS = 12
"""Of the loop after a step: what loopback carries is there in two or three."""
LONG = settings(max_examples=60, stateful_step_count=14)


def connect(host: str) -> bytes:
    return f"CONNECT {host}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Walks(RuleBasedStateMachine):
    """One connection from accept to record."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvloop.new_event_loop()
        self.said = b""  # by the client, behind the head of its CONNECT
        self.read = b""  # by the destination
        self.host = ""
        self.client_is_there = self.origin_is_there = True

    @initialize(
        opening=st.sampled_from([*map(connect, HOSTS), *NO_CONNECT]),
        cut=st.integers(0, 60),
        fails=st.sampled_from([False] * 4 + [True]),
    )
    def is_accepted_and_asks(self, opening: bytes, cut: int, fails: bool) -> None:
        self.loop.run_until_complete(self._accept(fails))
        self.host = opening.partition(b" ")[2].partition(b":")[0].decode().lower()
        self._send(opening[:cut])
        self._settle()
        self._send(opening[cut:])

    async def _accept(self, fails: bool) -> None:
        self.downstream, self.client = await stream_and_peer()
        self.dialer = FakeDialer(UpstreamError(Reason.CONNECTION_REFUSED, "planned") if fails else None)
        self.recorder, self.limiter, self.deadlines = KeepingRecorder(), Unlimited(), HandDeadlines()
        self.services = build_services(RULES, self.dialer, self.recorder, self.limiter)
        self.services.deadlines = self.deadlines
        self.task = self.loop.create_task(connection.serve_connection(self.downstream, accepted(), self.services))

    # ------------------------------------------------------------------------------------------------- what happens

    @precondition(lambda self: self.client_is_there)
    @rule(data=st.sampled_from([HELLO, OTHER, HELLO[:50], HELLO[50:], b"x", b"GET / HTTP/1.1\r\n\r\n", bytes(9000)]))
    def the_client_says(self, data: bytes) -> None:
        self.said += data
        self._send(data)

    @precondition(lambda self: self.client_is_there)
    @rule(politely=st.booleans())
    def the_client_goes(self, politely: bool) -> None:
        self.client_is_there = False
        if politely:
            with contextlib.suppress(OSError):  # it may have been cut off
                self.client.shutdown(socket.SHUT_WR)
        else:
            reset(self.client)

    @precondition(lambda self: self.dialer.streams and self.origin_is_there)
    @rule(data=st.sampled_from([b"y", bytes(9000)]))
    def the_destination_says(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # likewise
            self.dialer.origin.send(data)

    @precondition(lambda self: self.dialer.streams and self.origin_is_there)
    @rule(politely=st.booleans())
    def the_destination_goes(self, politely: bool) -> None:
        self._look()
        self.origin_is_there = False
        if politely:
            with contextlib.suppress(OSError):  # likewise
                self.dialer.origin.shutdown(socket.SHUT_WR)
        else:
            reset(self.dialer.origin)

    @rule(what=st.sampled_from(["a second", "a minute", "an hour", "drain", "cut off"]))
    def something_happens(self, what: str) -> None:
        match what:
            case "drain":
                self.services.drain()
            case "cut off":
                self.task.cancel()
            case _:
                self.deadlines.advance({"a second": 1.0, "a minute": 60.0, "an hour": 4000.0}[what])

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it may have been refused and closed already
            self.client.send(data)

    # ----------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def nothing_else_leaves(self) -> None:
        if not hasattr(self, "task"):
            return
        self._settle()
        assert len(self.dialer.permits) <= 1
        assert all(str(permit.authority.host) in ALLOWED for permit in self.dialer.permits)
        assert int(self.task.done()) <= len(self.recorder.drafts) <= 1
        self._look()

    def _look(self) -> None:
        """What the destination has read by now."""
        if self.dialer.streams and self.origin_is_there:
            with contextlib.suppress(OSError):  # nothing now, or cut off
                self.read += self.dialer.origin.recv(1 << 20)
        assert self.said.startswith(self.read), "what was not said, or out of order"
        if self.read and self.host == "tls.test":
            assert self.said.startswith(HELLO), "a byte before the verdict about the hello"

    def _settle(self) -> None:
        self.loop.run_until_complete(_turns())

    def teardown(self) -> None:
        try:
            if hasattr(self, "task"):
                self.loop.run_until_complete(self._end())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=10)
        self.client.close()
        if self.dialer.streams:
            self.dialer.origin.close()
        opened = [self.downstream, *self.dialer.streams]
        left_open = [stream for stream in opened if not (stream.is_lost or stream.transport.is_closing())]
        for stream in opened:
            stream.abort()
        await _turns()
        assert self.task.done()
        assert len(self.recorder.drafts) == 1
        assert (self.limiter.held, self.deadlines.pending(), left_open) == (0, 0, [])


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class WalksWithTls(Walks):
    """The part of them in which a hello counts, for a fault that shows nowhere else."""

    @initialize()
    def is_accepted_and_asks(self) -> None:
        self.loop.run_until_complete(self._accept(fails=False))
        self.host = "tls.test"
        self._send(connect(self.host))

    @precondition(lambda self: self.client_is_there)
    @rule(data=st.sampled_from([HELLO, OTHER]))
    def the_client_says(self, data: bytes) -> None:
        self.said += data
        self._send(data)


def test_whatever_happens_in_whatever_order_the_laws_of_the_walk_hold() -> None:
    run_state_machine_as_test(Walks, settings=LONG)


def test_a_walk_that_forgets_to_confirm_the_hello_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "confirm", lambda *_: None)
    with pytest.raises(AssertionError, match="before the verdict"):
        run_state_machine_as_test(WalksWithTls, settings=settings(UNSHRUNK, stateful_step_count=14))


def test_a_walk_that_dials_before_it_decides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def early(head: object, downstream: object, draft: object, services: Services) -> None:
        await services.dialer.dial(None)  # type: ignore[arg-type] # the fault that is planted
        raise AssertionError("no permit")

    monkeypatch.setattr(connection, "_walk", early)
    with pytest.raises((AssertionError, AttributeError)):
        run_state_machine_as_test(Walks, settings=UNSHRUNK)
