"""What goes on for ever comes back after every fault, ever less often while it fails for good."""

import asyncio

import pytest

from gateway.app.live.endless import LONGEST_PAUSE_SECONDS, run_endlessly

FAILS, RETURNS = True, False


class _Work:
    """Takes so many seconds each time, and then fails or returns; cancelled after the last one. Time is a count."""

    def __init__(self, *times: tuple[float, bool]) -> None:
        self.pauses: list[float] = []
        self._times = list(times)
        self._now = 0.0

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._now += seconds

    async def _do(self) -> None:
        if not self._times:
            raise asyncio.CancelledError
        seconds, fails = self._times.pop(0)
        self._now += seconds
        if fails:
            raise RuntimeError("planted")

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await run_endlessly(self._do, "the watch", lambda: self._now, self._pause)


async def test_what_fails_for_good_is_begun_ever_less_often_and_the_log_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = _Work(*[(0.0, FAILS)] * 8)
    await work.run()
    assert work.pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "the watch failed (1 in a row) and begins again in 1 s"
    assert messages[7] == "the watch failed (8 in a row) and begins again in 30 s"


@pytest.mark.parametrize("well", [(0.0, RETURNS), (LONGEST_PAUSE_SECONDS + 1, FAILS)])
async def test_what_went_well_meanwhile_comes_back_soon(well: tuple[float, bool]) -> None:
    work = _Work(*[(0.0, FAILS)] * 5, well, (0.0, FAILS))
    await work.run()
    assert work.pauses[:5] == [1, 2, 4, 8, 16]
    assert work.pauses[5] == 1
    assert work.pauses[6] == (1 if well[1] is RETURNS else 2)
