import asyncio

import dns.message
import dns.name
import pytest
from dns.rdatatype import A

from gateway.net.dns.channel import Channel
from gateway.net.dns.framing import DotFraming
from gateway.net.dns.transport import Question

QUESTION = Question(dns.name.from_text("x.test"), A)


class Wire(asyncio.Transport):
    """What was written, and the channel's end when it is closed."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False
        self._channel = channel

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self._channel.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def question(self) -> dns.message.Message:
        """The last one."""
        return dns.message.from_wire(self.written[-128:])


def connected(idle: float = 30.0) -> tuple[Channel, Wire]:
    channel = Channel(DotFraming(7), idle)
    wire = Wire(channel)
    channel.connection_made(wire)
    return channel, wire


def answer_to(query: dns.message.Message) -> bytes:
    return dns.message.make_response(query).to_wire(prepend_length=True)


async def put(channel: Channel) -> asyncio.Task[dns.message.Message]:
    asking = asyncio.create_task(channel.ask(QUESTION))
    await asyncio.sleep(0)
    return asking


async def test_a_connection_that_nobody_uses_closes_by_itself() -> None:
    channel, wire = connected(idle=0.3)
    asking = await put(channel)
    await asyncio.sleep(0.4)
    assert not wire.is_closed, "somebody waits"
    channel.data_received(answer_to(wire.question()))
    await asking
    assert not wire.is_closed
    async with asyncio.timeout(5):
        while not wire.is_closed:  # noqa: ASYNC110 # the timer tells nobody
            await asyncio.sleep(0.01)


async def test_a_retired_connection_waits_for_the_answers_under_way() -> None:
    channel, wire = connected()
    asking = await put(channel)
    channel.retire()
    assert not channel.is_usable(silence=60)
    assert not wire.is_closed
    channel.data_received(answer_to(wire.question()))
    await asking
    assert wire.is_closed


async def test_silence_counts_from_the_first_question_since_something_was_heard() -> None:
    channel, wire = connected()
    assert channel.is_usable(silence=0), "nothing was asked yet"
    asking = await put(channel)
    await asyncio.sleep(0.02)
    assert not channel.is_usable(silence=0.01)
    channel.data_received(answer_to(wire.question()))
    await asking
    assert channel.is_usable(silence=0.01)
    channel.close()


async def test_all_that_wait_are_told_when_the_connection_ends() -> None:
    channel, _ = connected()
    asking = [await put(channel) for _ in range(3)]
    channel.connection_lost(None)
    for one in asking:
        with pytest.raises(ConnectionResetError):
            await one
    with pytest.raises(ConnectionResetError):
        await channel.ask(QUESTION)


async def test_a_malformed_answer_is_an_error_of_its_own_question_only() -> None:
    channel, wire = connected()
    first = await put(channel)
    query = wire.question()
    second = await put(channel)
    channel.data_received(b"\x00\x05" + query.id.to_bytes(2, "big") + b"\x81\x80\xff")
    channel.data_received(answer_to(wire.question()))
    with pytest.raises(dns.exception.DNSException):
        await first
    assert (await second).id == wire.question().id
    channel.close()
