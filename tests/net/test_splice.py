"""Which directions are spliced, what that costs, and that it is given back."""

import asyncio
import random
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.model.reasons import Reason
from gateway.model.record import Ended
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.splice import Splices
from tests.helpers.requirements import require_root
from tests.helpers.streams import receive, receive_all, receive_exactly, reset, send
from tests.helpers.tunnel import EAGER, Tunnel, kernel_form, open_tunnel

NOISE = random.Random(2).randbytes(2_000_000)
UNPRIVILEGED = 65532
DESCRIPTORS = 4  # of a direction


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def spliced(tunnel: Tunnel) -> None:
    """Client to origin."""
    await send(tunnel.client, NOISE[:EAGER])
    assert await receive_exactly(tunnel.origin, EAGER) == NOISE[:EAGER]
    await send(tunnel.client, b"!")
    assert await receive(tunnel.origin) == b"!"
    assert tunnel.splices.open == 1


async def test_a_direction_is_spliced_once_its_large_reads_add_up_to_bulk() -> None:
    async with open_tunnel(Splices(bulk=30_000, large=10_000)) as tunnel:
        for size, splices in ((9_999, 0), (9_999, 0), (9_999, 0), (9_999, 0), (15_000, 0), (15_000, 1), (1, 1)):
            await send(tunnel.client, NOISE[:size])
            assert await receive_exactly(tunnel.origin, size) == NOISE[:size]
            await asyncio.sleep(0)
            assert tunnel.splices.open == splices


async def test_a_direction_that_went_quiet_gives_its_descriptors_back_and_goes_on() -> None:
    async with open_tunnel(kernel_form()) as tunnel:
        await asyncio.sleep(0)
        before = descriptors()
        await spliced(tunnel)
        assert descriptors() == before + DESCRIPTORS
        tunnel.deadlines.advance(tunnel.splices.quiet)
        assert descriptors() == before + DESCRIPTORS  # a byte moved since the last look
        tunnel.deadlines.advance(tunnel.splices.quiet)
        assert descriptors() == before
        assert tunnel.splices.open == 0
        await spliced(tunnel)
        assert tunnel.transfer.bytes_up == 2 * (EAGER + 1)


async def test_a_direction_whose_sink_is_stalled_keeps_its_pipe_and_loses_nothing() -> None:
    async with open_tunnel(kernel_form()) as tunnel:
        await spliced(tunnel)
        sending = asyncio.ensure_future(send(tunnel.client, NOISE * 10))
        await asyncio.wait([sending], timeout=0.3)
        tunnel.deadlines.advance(tunnel.splices.quiet * 3)
        assert tunnel.splices.open == 1
        assert await receive_exactly(tunnel.origin, 10 * len(NOISE)) == NOISE * 10
        await sending


async def test_bytes_before_a_reset_are_not_held_back_and_the_reset_is_carried_at_once() -> None:
    async with open_tunnel(kernel_form()) as tunnel:
        await spliced(tunnel)
        await send(tunnel.client, NOISE[:100_000])
        reset(tunnel.client)
        got = bytearray()
        with suppress(ConnectionResetError):
            async with asyncio.timeout(10):
                while data := await receive(tunnel.origin):
                    got += data
        assert NOISE[:100_000].startswith(got)
        transfer = await tunnel.over()
        assert (transfer.ended, transfer.reason) == (Ended.RESET, Reason.DOWNSTREAM_RESET)


async def test_an_end_inside_a_splice_comes_after_the_last_byte() -> None:
    async with open_tunnel(kernel_form()) as tunnel:
        await spliced(tunnel)
        sending = asyncio.ensure_future(send(tunnel.client, NOISE))
        sending.add_done_callback(lambda _: tunnel.client.shutdown(socket.SHUT_WR))
        assert await receive_all(tunnel.origin) == NOISE
        assert tunnel.splices.open == 0
        tunnel.origin.close()
        assert (await tunnel.over()).ended is Ended.CLOSED


async def test_one_bulky_tunnel_does_not_starve_another() -> None:
    async with open_tunnel(kernel_form()) as bulky, open_tunnel(kernel_form()) as small:
        flood = asyncio.ensure_future(send(bulky.client, NOISE * 200))
        drain = asyncio.ensure_future(receive_exactly(bulky.origin, 200 * len(NOISE)))
        for _ in range(20):
            await send(small.client, b"ping")
            assert await receive(small.origin) == b"ping"
        assert not drain.done()
        await flood
        await drain


@pytest.mark.parametrize(("taken", "directions"), [(75, 1), (76, 0)])
async def test_a_quarter_of_the_descriptors_stays_free(taken: int, directions: int) -> None:
    async with open_tunnel(Splices(bulk=EAGER, large=1, descriptors=Descriptors(100, lambda: taken))) as tunnel:
        await send(tunnel.client, NOISE[:EAGER])
        assert await receive_exactly(tunnel.origin, EAGER) == NOISE[:EAGER]
        await asyncio.sleep(0)
        assert tunnel.splices.open == directions


async def test_no_descriptor_is_taken_where_splicing_is_not_possible() -> None:
    before = descriptors()
    splices = Splices(pipe=1 << 32)  # no pipe can be as large: the kernel says EINVAL
    assert splices.start(0, 1, NeverCarried()) is None
    assert Splices().start(-1, -1, NeverCarried()) is None
    assert descriptors() == before
    assert splices.open == 0


class NeverCarried:
    def count(self, size: int) -> None:
        raise AssertionError

    carried_all = source_failed = sink_failed = lambda self: pytest.fail("nothing was spliced")


async def test_where_splicing_is_not_possible_the_tunnel_stays_in_user_space() -> None:
    async with open_tunnel(Splices(bulk=EAGER, large=1, pipe=1 << 32)) as tunnel:
        sending = asyncio.ensure_future(send(tunnel.client, NOISE))
        assert await receive_exactly(tunnel.origin, len(NOISE)) == NOISE
        await sending
        assert tunnel.splices.open == 0


@pytest.mark.privileged
def test_an_unprivileged_user_moves_two_hundred_bulky_directions_at_once_and_every_byte_arrives() -> None:
    require_root()
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.bulky_directions", str(UNPRIVILEGED)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    at_once = re.fullmatch(r"200 directions arrived, ([0-9]+) of them spliced at once\n", done.stdout)
    assert at_once, done.stdout
    assert 64 <= int(at_once[1]) < 200  # the user's pipe pages do not suffice for all of them
