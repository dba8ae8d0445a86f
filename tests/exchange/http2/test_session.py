"""What goes out on one connection for many streams, and when."""

import asyncio
import tracemalloc
from itertools import count
from typing import cast

import pytest

from gateway.exchange.http2.channel import Channel, StreamInlet
from gateway.exchange.http2.session import Session
from gateway.model.reasons import Reason
from gateway.net.stream import Feeder, Receiver, Stream
from gateway.wire.http.messages import Fields
from gateway.wire.http2.codes import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PREFACE,
    ConnectionFault,
    ErrorCode,
)
from gateway.wire.http2.connection import HeadCame
from gateway.wire.http2.frames import FrameReader, frame, header_frames, reset_frame, settings_frame, window_frame
from gateway.wire.http2.messages import RequestMessage

KIBIBYTE = 1024
END = b"\x00\x00\x00\x00\x01\x00\x00\x00\x01"
GET = b"\x82\x87\x84\x41\x01a"


class Wire:
    """A stream that takes whatever is written."""

    receiver: Receiver | None = None
    feeder: Feeder | None = None
    is_lost = has_ended = False

    def __init__(self) -> None:
        self.written = bytearray()

    def peek(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        self.written += data

    def queued(self) -> int:
        return 0


class Owner:
    """Opens a channel for each stream."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.emptied = 0
        self.slow_heads = 0

    def opened(self, session: Session, head: HeadCame) -> None:
        self.channels.append(Channel(session, head.stream, self._ring))

    def head_began(self) -> None:
        self.slow_heads += 1

    def changed(self) -> None:
        """Nothing that matters here."""

    def _ring(self) -> None:
        self.emptied += 1


class Waiting:
    """Fulfils `session.Writer` with content that its own window does not let go."""

    def __init__(self, session: Session) -> None:
        self.pumped = 0
        self._session = session
        session.waiting[1] = self

    def pump(self) -> bool:
        self.pumped += 1
        self._session.waiting[1] = self
        return False


async def _session(streams: int, window: int) -> tuple[Wire, Session, Owner]:
    wire, owner = Wire(), Owner()
    session = Session(cast("Stream", wire), True, owner, count().__next__)
    session.attach()
    heads = b"".join(header_frames(number, GET, True) for number in range(1, 2 * streams, 2))
    session.received(PREFACE + settings_frame([(4, window)]) + window_frame(0, 2**30) + heads)
    await asyncio.sleep(0)
    wire.written.clear()
    return wire, session, owner


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Taking:
    """Fulfils `session.StreamReceiver`; keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def head_came(self, fields: Fields, ended: bool) -> None:
        self.told.append((fields, ended))

    def data_came(self, data: bytes, size: int, ended: bool) -> None:
        self.told.append((data, size, ended))

    def cut(self, code: ErrorCode, detail: str) -> None:
        self.told.append(code)


async def test_content_that_came_in_one_read_is_one_piece_for_each_stream() -> None:
    """Whatever is between its frames; and what ends the stream comes behind it."""
    _, session, _ = await _session(0, 0)
    session.received(b"".join(header_frames(number, b"\x83\x87\x84\x41\x01a", False) for number in (1, 3, 5, 7)))
    taking = {number: Taking() for number in (1, 3, 5, 7)}
    session.receivers.update(taking)
    each = [frame(DATA, 0, number, b"a") + window_frame(number, 1) for number in (1, 3, 5)]
    padded, ends = frame(DATA, 8, 1, b"\2b\0\0"), frame(DATA, 1, 7, b"c")
    trailers, reset = header_frames(3, b"\0\x01x\x01y", True), reset_frame(5, ErrorCode.CANCEL)
    session.received(b"".join(each) * 100 + padded + trailers + reset + ends)
    assert taking[1].told == [(b"a" * 100 + b"b", 104, False)]
    assert taking[3].told == [(b"a" * 100, 100, False), ((("x", "y"),), True)]
    assert taking[5].told == [(b"a" * 100, 100, False), ErrorCode.CANCEL]
    assert taking[7].told == [(b"c", 1, True)]


async def test_only_a_head_whose_end_does_not_come_with_it_is_told_of_and_once() -> None:
    _, session, owner = await _session(2, 0)
    session.received(header_frames(5, GET, True) + b"\0\0\1\0")
    session.received(b"\0\0\0\0\1x")
    assert owner.slow_heads == 0
    for byte in header_frames(7, GET, True):
        session.received(bytes([byte]))
    assert owner.slow_heads == 1
    session.received(frame(HEADERS, 1, 9, GET))
    session.received(frame(CONTINUATION, 0, 9))
    assert owner.slow_heads == 2
    session.received(frame(CONTINUATION, END_HEADERS, 9) + header_frames(11, GET, True)[:-1])
    assert owner.slow_heads == 3


async def test_content_before_a_fault_in_the_same_read_is_not_lost() -> None:
    _, session, _ = await _session(0, 0)
    session.received(header_frames(1, b"\x83\x87\x84\x41\x01a", False))
    taking = session.receivers[1] = Taking()
    session.received(frame(DATA, 0, 1, b"a") + frame(DATA, 1, 1, b"b") + frame(DATA, 0, 0, b"c"))
    assert taking.told == [(b"ab", 2, True), ErrorCode.PROTOCOL_ERROR]


class Objecting(Taking):
    """To whatever comes."""

    def data_came(self, data: bytes, size: int, ended: bool) -> None:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "too much")


async def test_of_content_that_is_at_fault_itself_nothing_is_kept_and_every_stream_is_cut() -> None:
    _, session, _ = await _session(0, 0)
    session.received(b"".join(header_frames(number, b"\x83\x87\x84\x41\x01a", False) for number in (1, 3)))
    objecting, behind = Objecting(), Taking()
    session.receivers.update({1: objecting, 3: behind})
    session.received(frame(DATA, 0, 1, b"a") + frame(DATA, 0, 3, b"b"))
    assert (objecting.told, behind.told) == ([ErrorCode.FLOW_CONTROL_ERROR], [ErrorCode.FLOW_CONTROL_ERROR])
    assert not session._came


async def test_what_had_to_wait_for_the_socket_goes_out_without_another_word_of_the_peer() -> None:
    """More than one turn's worth, and windows that are never opened again."""
    wire, session, owner = await _session(1, 2**30)
    [channel] = owner.channels
    session.congested()
    channel.write(bytes(500 * KIBIBYTE))
    assert channel.queued() == 500 * KIBIBYTE
    session.relieved()
    await _rounds(20)
    assert (channel.queued(), owner.emptied) == (0, 1)
    assert len(wire.written) == 500 * KIBIBYTE + 32 * 9  # 31 1/4 frames


async def test_streams_take_turns() -> None:
    wire, session, owner = await _session(2, 2**30)
    session.congested()
    for channel in owner.channels:
        channel.write(bytes(200 * KIBIBYTE))
    session.relieved()
    assert [channel.queued() for channel in owner.channels] == [136 * KIBIBYTE] * 2
    await _rounds(20)
    assert [channel.queued() for channel in owner.channels] == [0, 0]
    assert len(wire.written) > 400 * KIBIBYTE


@pytest.mark.parametrize("window", [0, 10, 100_000])
async def test_no_more_goes_out_than_the_peer_has_a_window_for(window: int) -> None:
    wire, session, owner = await _session(1, window)
    [channel] = owner.channels
    channel.write(bytes(200 * KIBIBYTE))
    channel.conclude(())
    await _rounds(20)
    assert channel.queued() == 200 * KIBIBYTE - window
    assert not wire.written.endswith(END)
    session.received(window_frame(1, 2**20))
    await _rounds(20)
    assert (channel.queued(), channel.has_ended) == (0, True)
    assert wire.written.endswith(END)


async def test_all_windows_of_the_connection_that_come_together_are_one_reason_to_go_through_its_streams() -> None:
    """A read has room for 20,000 of them, and a hundred streams may wait for windows of their own."""
    _, session, _ = await _session(1, 0)
    waiting = Waiting(session)
    session.received(window_frame(0, 4096) * 1000)
    await _rounds(3)
    assert waiting.pumped == 1


async def test_what_comes_in_tiny_pieces_takes_little_more_memory_than_its_bytes() -> None:
    _, session, owner = await _session(1, 0)
    [channel] = owner.channels
    channel.begin([(":status", "200")], b"", None)
    inlet = StreamInlet(session, 1, RequestMessage(False), Reason.MALFORMED_REQUEST, lambda: None)
    said = [number.to_bytes(2, "big") for number in range(10_000)]
    tracemalloc.start()
    for piece in said:
        inlet.take([piece + b"x"])
        channel.write(piece + b"x")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert channel.queued() == 30_000
    assert inlet.held_content() == b"".join(piece + b"x" for piece in said)
    assert taken < 2 * 2 * 30_000


@pytest.mark.parametrize("fault", [frame(DATA, 0, 0, b"x"), b"".join([frame(99, 0, 0)] * 500)], ids=["wrong", "flood"])
async def test_who_is_at_fault_is_told_so_once(fault: bytes) -> None:
    wire, session, _ = await _session(3, 2**30)
    session.received(fault)
    session.received(fault)
    [said] = FrameReader(awaits_preface=False).feed(bytes(wire.written))
    assert (said.kind, said.payload[:4]) == (GOAWAY, b"\0\0\0\5")
