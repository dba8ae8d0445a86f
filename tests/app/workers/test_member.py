"""A fault of ours in sending the pods costs no worker its pods."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from gateway.app.live import endless
from gateway.app.live.limiting import Seat
from gateway.app.workers.channel import Channel, Kind
from gateway.app.workers.member import Member
from gateway.app.workers.messages import decode_changes
from gateway.kubernetes.directory import Drop
from gateway.telemetry.flows.ring import Ring
from gateway.telemetry.ledger import Ledger

CHANGES = [Drop("uid")]


class _Process:
    pid = 1
    returncode = 0


class _Pods:
    """Fulfils what a member uses of `ClusterWatch`. The first reading fails."""

    def __init__(self) -> None:
        self.open = 0
        self._faults = [RuntimeError("planted")]

    def reader(self) -> "_Pods":
        self.open += 1
        return self

    async def __aiter__(self) -> AsyncIterator[Sequence[Sequence[Drop]]]:
        if self._faults:
            raise self._faults.pop()
        yield [CHANGES]
        await asyncio.Event().wait()

    def close(self) -> None:
        self.open -= 1


async def test_pods_are_sent_again_after_a_fault_in_sending_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endless, "PAUSE_SECONDS", 0.0)
    ours, theirs = map(Channel.over, socket.socketpair())
    channel, other, pods = await ours, await theirs, _Pods()
    member = Member(0, cast("Any", _Process()), channel, Ledger.alone(), Seat(0, 0, 1), Ring())
    sending = asyncio.create_task(member.send_pods(cast("Any", pods)))
    async with asyncio.timeout(15):
        message = await other.receive()
    assert message is not None
    assert (message.kind, decode_changes(message.body), pods.open) == (Kind.PODS, CHANGES, 1)
    assert "sending the pods to worker 0 failed" in caplog.text
    sending.cancel()
    await asyncio.wait([sending])
    assert pods.open == 0
    channel.close()
    other.close()
