import asyncio
from contextlib import suppress

import uvloop

from tests.helpers.tasks import still_running


async def test_a_task_that_goes_on_is_named() -> None:
    stuck = asyncio.create_task(asyncio.Event().wait(), name="stuck")
    try:
        assert await still_running(set(), grace=0.01) == ["stuck"]
    finally:
        stuck.cancel()
        with suppress(asyncio.CancelledError):
            await stuck


async def test_a_task_that_is_about_to_end_is_not_named() -> None:
    task = asyncio.create_task(asyncio.sleep(0), name="ending")
    assert await still_running(set(), grace=10.0) == []
    assert task.done()


async def test_a_spared_task_is_not_named() -> None:
    release = asyncio.Event()
    task = asyncio.create_task(release.wait())
    assert await still_running({task}, grace=10.0) == []
    release.set()
    await task


async def test_tests_run_on_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
