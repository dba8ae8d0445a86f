"""What the walk of a connection works with, faked where a test wants to see or to decide what happens."""

import asyncio
import time

from gateway.exchange.parts import Parts
from gateway.exchange.upstream import Pool
from gateway.model.addresses import Address
from gateway.model.decision import Permit
from gateway.model.record import Dialled, Draft, ExchangeDraft
from gateway.model.roles import Upstream
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from gateway.policy.index import Rules
from gateway.serve.deadlines import DeadlineWheel
from gateway.serve.identify import Identifier
from gateway.serve.services import Bounds, Services
from gateway.wire.http.codec import open_codec
from tests.helpers.streams import stream_and_peer
from tests.helpers.unlimited import Unlimited

LOOPBACK = Address(4, 0x7F000001)


class FakeDialer:
    """Fulfils `roles.Dialer`: answers every dial with a stream whose other end is in `origin`, or with `failure`."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.permits: list[Permit] = []
        self.streams: list[Stream] = []
        self.dialled = asyncio.Event()
        self._failure = failure

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        self.permits.append(permit)
        if self._failure is not None:
            raise self._failure
        stream, self.origin = await stream_and_peer()
        self.streams.append(stream)
        self.dialled.set()
        return Upstream(Dialled(LOOPBACK, (), (), None, 0.001), stream)


class StuckDialer:
    """Fulfils `roles.Dialer`: never comes to an end."""

    def __init__(self) -> None:
        self.dialling = asyncio.Event()

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        self.dialling.set()
        await asyncio.Event().wait()
        raise AssertionError("only a cancellation gets here")


class KeepingRecorder:
    """Fulfils `roles.Recorder`."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.exchanges: list[ExchangeDraft] = []

    def record(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def record_exchange(self, draft: ExchangeDraft) -> None:
        self.exchanges.append(draft)


def build_services(
    rules: Rules,
    dialer: FakeDialer | StuckDialer,
    recorder: KeepingRecorder,
    limiter: Unlimited | None = None,
) -> Services:
    """Everything else is real."""
    deadlines, splices = DeadlineWheel(asyncio.get_running_loop()), Splices()
    return Services(
        rules=lambda: rules,
        identifier=lambda: Identifier([]),
        entrance=lambda listener: None,
        admit_as=lambda sender, client: None,
        limiter=limiter or Unlimited(),
        dialer=dialer,
        recorder=recorder,
        deadlines=deadlines,
        clock=time,
        splices=splices,
        exchanges=Parts(open_codec("auto"), dialer, recorder, deadlines, time, splices, "test"),
        interception=lambda: None,
        pool=Pool(deadlines, time.monotonic),
        bounds=Bounds(),
        proxy_name="test",
    )
