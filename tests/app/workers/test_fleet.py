"""Workers are replaced when they end, given what is in force and not what files say, and given up on in the end."""

import asyncio
import ctypes
import errno
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.app.generation.frames import contents_of, dump
from gateway.app.generation.reading import ReadFailed
from gateway.app.live.snapshot import Snapshot
from gateway.app.sockets import bind_sockets
from gateway.app.workers import fleet, member, restarts
from gateway.app.workers.crew import CrewFailed
from gateway.app.workers.fleet import Fleet
from gateway.app.workers.member import PROGRAM
from gateway.app.workers.messages import Start, decode_snapshot
from gateway.app.workers.restarts import RestartPolicy
from gateway.model.errors import ConfigError
from tests.app.policies import load, text, write

SECONDS = 60.0
IMPATIENT = RestartPolicy(failures=3, pause=0.01)
GATEWAY = """
listeners: [{bind: '127.0.0.1:0'}]
admin: {bind: '127.0.0.1:0'}
telemetry: {access_log: {path: records.jsonl}}
drain: {timeout: 1s}
"""


class Bed:
    """A fleet, and the files whose policy it gets."""

    def __init__(self, folder: Path, size: int, program: Sequence[str], policy: RestartPolicy) -> None:
        self.file = write(folder / "policy.yaml", text("old"))
        os.chdir(folder)
        write(folder / "gateway.yaml", GATEWAY)
        self.settings = load(self.file).head.settings
        self.sockets = bind_sockets(self.settings, size)
        self.fleet = Fleet(self.settings, {}, self.sockets, restarts=policy, program=program)
        self._others = psutil.Process().children()

    async def frames(self) -> AsyncIterator[bytes]:
        """Of what the file says now."""
        for content in contents_of(load(self.file)):
            yield dump(content)

    async def becomes(self, generation: int) -> None:
        """Wait until every worker judges by it."""
        async with asyncio.timeout(SECONDS):
            while self.fleet.generation != generation:  # noqa: ASYNC110  # nobody is told when a worker has ended
                await asyncio.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        """And no processes that others left."""
        return [child for child in psutil.Process().children() if child not in self._others]


@asynccontextmanager
async def bed(
    folder: Path, size: int = 1, program: Sequence[str] = PROGRAM, policy: RestartPolicy = IMPATIENT
) -> AsyncIterator[Bed]:
    before = Path.cwd()
    made = Bed(folder, size, program, policy)
    try:
        yield made
    finally:
        os.chdir(before)
        await made.fleet.drain(0.0)
        for sock in made.sockets.all():
            sock.close()
        assert made.workers() == []


async def test_nothing_is_in_force_before_every_worker_has_it(tmp_path: Path) -> None:
    async with bed(tmp_path, size=2) as it:
        assert it.fleet.generation == 0
        await it.fleet.take(1, it.frames())
        assert (it.fleet.generation, it.fleet.totals().workers) == (0, {})
        assert it.fleet.why_not_renew() == "the workers are starting"
        await it.fleet.start()
        assert (it.fleet.generation, it.fleet.is_complete, len(it.fleet.totals().workers)) == (1, True, 2)
        await it.fleet.take(2, it.frames())
        assert it.fleet.generation == 2


async def test_a_replacement_gets_what_is_in_force_and_not_what_the_files_say(tmp_path: Path) -> None:
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        it.file.unlink()
        [worker] = it.workers()
        worker.kill()
        await it.becomes(0)
        await it.becomes(1)
        [replacement] = it.workers()
        assert replacement.pid != worker.pid
        assert it.fleet.totals().workers_lost == 1


async def test_renewal_says_why_no_worker_could_be_started_and_the_old_one_stays(tmp_path: Path) -> None:
    program = list(PROGRAM)
    async with bed(tmp_path, program=program) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        program[0] = str(tmp_path / "no program")
        problem = await it.fleet.renew()
        assert problem is not None
        assert problem.startswith("the new worker 0 cannot be started: ")
        assert (it.fleet.is_complete, it.fleet.why_not_renew()) == (True, None)


async def test_renewals_that_fail_in_a_row_do_not_end_a_gateway_whose_old_worker_serves(tmp_path: Path) -> None:
    program = list(PROGRAM)
    policy = RestartPolicy(healthy=30.0, failures=1, pause=0.01)
    async with bed(tmp_path, program=program, policy=policy) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        failing = asyncio.create_task(it.fleet.failure())
        program[:] = [sys.executable, "-c", "pass"]
        for _ in range(3):
            assert await it.fleet.renew() is not None
        await asyncio.sleep(0.1)
        assert not failing.done()
        assert (it.fleet.is_complete, len(it.workers())) == (True, 1)
        failing.cancel()


async def test_what_was_lost_with_a_worker_that_was_killed_while_it_drained_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [old] = it.workers()
        old.suspend()
        renewing = asyncio.create_task(it.fleet.renew())
        async with asyncio.timeout(SECONDS):
            while it.fleet.totals().workers == {0: old.pid}:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)
        old.kill()
        assert await renewing is None
    assert f"(pid {old.pid}) was ended by SIGKILL: 0 connections ended with it uncounted, 0 records" in caplog.text


async def test_a_replacement_writes_to_the_logs_that_are_in_force_and_to_no_former_ones(tmp_path: Path) -> None:
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        write(tmp_path / "gateway.yaml", GATEWAY.replace("records.jsonl", "newer.jsonl"))
        await it.fleet.take(2, it.frames())
        (tmp_path / "records.jsonl").unlink()
        it.workers()[0].kill()
        await it.becomes(0)
        await it.becomes(2)
        assert logs_in(tmp_path) == ["newer.jsonl"]


async def test_a_replacement_serves_also_where_a_log_cannot_be_opened_any_more_and_a_renewal_is_refused(
    tmp_path: Path,
) -> None:
    """Whoever holds the log open does better than one that would replace it; to have nobody serve is worse."""
    log = tmp_path / "records.jsonl"
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        log.unlink()
        log.mkdir()
        problem = await it.fleet.renew()
        assert problem is not None
        assert "cannot be opened for writing: Is a directory" in problem
        it.workers()[0].kill()
        await it.becomes(0)
        await it.becomes(1)
        await _denied(it)
        async with asyncio.timeout(SECONDS):
            while it.fleet.totals().records_lost != 1:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)
        log.rmdir()
        await _denied(it)
        async with asyncio.timeout(SECONDS):
            while it.fleet.totals().records_written != 1:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)
        assert log.read_text().count("\n") == 1


async def _denied(it: Bed) -> None:
    """One client that is refused."""
    reader, writer = await asyncio.open_connection(*it.sockets.proxies[0][0][1].getsockname())
    writer.write(b"CONNECT x.test:1 HTTP/1.1\r\nHost: x.test:1\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), SECONDS)).startswith(b"HTTP/1.1 403")
    writer.close()
    await writer.wait_closed()


def logs_in(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.jsonl")]


async def test_a_generation_that_does_not_come_whole_reaches_nobody(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for frame in it.frames():
            yield frame
        raise ReadFailed(["line 3 is wrong"])

    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        with pytest.raises(ReadFailed):
            await it.fleet.take(2, broken())
        assert it.fleet.generation == 1


async def test_workers_that_cannot_take_a_generation_go_on_with_the_one_they_have(
    tmp_path: Path,
) -> None:
    async def without_rules() -> AsyncIterator[bytes]:
        yield dump(next(iter(contents_of(load(it.file)))))

    async with bed(tmp_path, size=2) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        before = {worker.pid for worker in it.workers()}
        with pytest.raises(ConfigError, match=r"worker [01]: internal error: the log has its traceback"):
            await it.fleet.take(2, without_rules())
        assert ({worker.pid for worker in it.workers()}, it.fleet.generation) == (before, 1)
        await it.fleet.take(2, it.frames())
        assert ({worker.pid for worker in it.workers()}, it.fleet.generation) == (before, 2)
        assert it.fleet.totals().workers_lost == 0


PICKY = """
import sys
from gateway.app.workers import worker
from gateway.model.errors import ConfigError

class Picky(worker.InForce):
    async def take(self, number, parts):
        if (number, sys.argv[1]) == (2, "1"):
            raise ConfigError("newer.jsonl", "there is no room for it")
        return await super().take(number, parts)

worker.InForce = Picky
worker.main()
"""


async def test_what_one_worker_cannot_take_holds_at_none(tmp_path: Path) -> None:
    program = (sys.executable, "-c", PICKY)
    async with bed(tmp_path, size=2, program=program) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        before = it.fleet.totals().workers
        write(tmp_path / "gateway.yaml", GATEWAY.replace("records.jsonl", "newer.jsonl"))
        with pytest.raises(ConfigError, match=r"^worker 1: newer\.jsonl: there is no room for it$"):
            await it.fleet.take(2, it.frames())
        assert it.fleet.generation == 1
        assert (it.fleet.totals().workers, it.fleet.totals().workers_lost) == (before, 0)
        (tmp_path / "records.jsonl").unlink()
        (tmp_path / "newer.jsonl").unlink()
        for worker in it.workers():
            worker.kill()
        async with asyncio.timeout(SECONDS):
            while not (it.fleet.totals().workers_lost == 2 and it.fleet.is_complete):  # noqa: ASYNC110  # polls
                await asyncio.sleep(0.02)
        assert (it.fleet.generation, logs_in(tmp_path)) == (1, ["records.jsonl"])


async def test_a_worker_that_is_stuck_while_all_return_to_the_former_generation_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        monkeypatch.setattr(fleet, "TAKE_SECONDS", 0.1)
        [worker] = it.workers()
        worker.suspend()
        await it.fleet.take(2, it.frames())
        await it.fleet._go_back_to(None)
        worker.resume()
    assert "after 0.1 s not every worker uses generation 2" in caplog.text
    assert "after 0.1 s not every worker is back at the former generation" in caplog.text


FULL = """
import os
from gateway.app.workers import worker
from gateway.model.errors import ConfigError

is_full = os.path.exists("full")

class Full(worker.InForce):
    async def take(self, number, parts):
        if number == 2 and is_full:
            raise ConfigError("newer.jsonl", "there is no room for it")
        return await super().take(number, parts)

worker.InForce = Full
worker.main()
"""


@pytest.mark.parametrize(
    ("is_full", "told"),
    [
        (True, "worker 0 keeps generation 1: newer.jsonl: there is no room for it"),
        (False, "worker 0 uses generation 2 now"),
    ],
)
async def test_what_a_worker_does_with_a_generation_that_nobody_waits_for_any_more_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_full: bool, told: str
) -> None:
    caplog.set_level(logging.INFO)
    if is_full:
        (tmp_path / "full").touch()
    async with bed(tmp_path, program=(sys.executable, "-c", FULL)) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        monkeypatch.setattr(fleet, "TAKE_SECONDS", 0.1)
        [worker] = it.workers()
        worker.suspend()
        await it.fleet.take(2, it.frames())
        worker.resume()
        async with asyncio.timeout(SECONDS):
            while told not in caplog.text:  # noqa: ASYNC110  # nobody is told but the log
                await asyncio.sleep(0.02)
        monkeypatch.setattr(fleet, "TAKE_SECONDS", SECONDS)
        await it.fleet.take(1 if is_full else 3, it.frames())
    assert caplog.text.count("worker 0 keeps") + caplog.text.count("worker 0 uses") == 1


async def test_a_new_worker_that_cannot_take_what_others_have_taken_meanwhile_replaces_none(tmp_path: Path) -> None:
    async with bed(tmp_path, program=(sys.executable, "-c", FULL)) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [old] = it.workers()
        (tmp_path / "full").touch()
        renewing = asyncio.create_task(it.fleet.renew())
        async with asyncio.timeout(SECONDS):
            while len(it.fleet._roster.members) < 2 or it.fleet._roster.members[1]._wanted is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await it.fleet.take(2, it.frames())
        assert await renewing == "the new worker 0: newer.jsonl: there is no room for it"
        assert (it.workers(), it.fleet.generation, it.fleet.totals().workers_lost) == ([old], 2, 0)


POISONED = """
import os
from gateway.app.workers import worker

class Poisoned(worker.InForce):
    async def take(self, number, parts):
        if number == 2:
            os.kill(os.getpid(), 9)
        return await super().take(number, parts)

worker.InForce = Poisoned
worker.main()
"""


async def test_a_generation_that_no_worker_outlives_is_not_what_the_gateway_ends_of(tmp_path: Path) -> None:
    """As one does for which there is too little memory: the kernel kills whoever takes it over."""
    async with bed(tmp_path, program=(sys.executable, "-c", POISONED)) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        with pytest.raises(ConfigError, match=r"^worker 0: it ended while taking over the generation"):
            await it.fleet.take(2, it.frames())
        await it.becomes(1)
        await it.fleet.take(3, it.frames())
        assert (it.fleet.generation, it.fleet.totals().workers_lost) == (3, 2)


UNCOUNTABLE = """
from gateway.app.workers import worker

def encode_snapshot(snapshot):
    raise ValueError("a count that is none")

worker.encode_snapshot = encode_snapshot
worker.main()
"""


async def test_a_worker_that_cannot_report_its_counts_is_not_taken_for_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LOOK_SECONDS", 3600.0)
    async with bed(tmp_path, program=(sys.executable, "-c", UNCOUNTABLE)) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [watched] = it.fleet._roster.members
        watched._silent_looks = member.SILENT_LOOKS
        async with asyncio.timeout(SECONDS):
            while watched._silent_looks:  # noqa: ASYNC110  # nobody is told of a message that says nothing
                await asyncio.sleep(0.02)
        watched.kill()  # at its end it would fail once more
        await it.becomes(0)


async def test_workers_that_end_at_once_are_given_up_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with bed(tmp_path, program=(sys.executable, "-c", "raise SystemExit(3)")) as it:
        await it.fleet.take(1, it.frames())
        with pytest.raises(CrewFailed, match="worker 0 failed 4 times in a row"):
            await it.fleet.start()
        assert isinstance(await it.fleet.failure(), CrewFailed)
        ends = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert len(ends) == 4
        assert all("ended with status 3: 0 connections" in line for line in ends)
        assert it.fleet.totals().workers_lost == 4


async def test_a_first_worker_that_cannot_be_started_is_a_failure_in_one_line(tmp_path: Path) -> None:
    async with bed(tmp_path, program=(str(tmp_path / "no program"),)) as it:
        await it.fleet.take(1, it.frames())
        with pytest.raises(CrewFailed, match=r"^worker 0 cannot be started: No such file or directory$"):
            await it.fleet.start()


async def test_a_worker_that_says_what_none_says_is_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    babble = "import socket, sys, time; socket.socket(fileno=int(sys.argv[2])).send(b'GET / HTTP/1.1'); time.sleep(60)"
    async with bed(tmp_path, program=(sys.executable, "-c", babble)) as it:
        await it.fleet.take(1, it.frames())
        with pytest.raises(CrewFailed):
            await it.fleet.start()
        assert "a message of 1195725856 bytes" in caplog.text


async def test_a_worker_whose_message_meets_a_fault_of_ours_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [RuntimeError("planted")]

    def decode(body: bytes) -> Snapshot:
        if faults:
            raise faults.pop()
        return decode_snapshot(body)

    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [worker] = it.workers()
        monkeypatch.setattr(member, "decode_snapshot", decode)
        await it.becomes(0)
        await it.becomes(1)
        assert [worker.pid] != [child.pid for child in it.workers()]
        assert "planted" in caplog.text
        assert "was killed, because what it sent could not be handled" in caplog.text


async def test_replacing_gives_every_place_a_new_worker_while_the_old_one_serves(tmp_path: Path) -> None:
    async with bed(tmp_path, size=2) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        before = {worker.pid for worker in it.workers()}
        renewing = asyncio.create_task(it.fleet.renew())
        await asyncio.sleep(0)
        assert it.fleet.why_not_renew() == "the workers are being replaced already"
        while not renewing.done():
            assert it.fleet.generation == 1
            await asyncio.sleep(0.01)
        assert await renewing is None
        after = {worker.pid for worker in it.workers()}
        assert (len(after), before & after) == (2, set())
        assert it.fleet.totals().workers_lost == 0


async def test_a_worker_that_hangs_is_killed_and_what_waits_at_it_is_served_by_its_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(member, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(member, "LOOK_SECONDS", 0.5)
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [worker] = it.workers()
        worker.suspend()
        assert await it.fleet.traffic.tunnels() == []
        assert f"worker 0 (pid {worker.pid}) does not answer" in caplog.text
        with socket.create_connection(it.sockets.proxies[0][0][1].getsockname()) as client:
            client.sendall(b"CONNECT x.test:1 HTTP/1.1\r\nHost: x.test:1\r\n\r\n")
            answer = await asyncio.wait_for(asyncio.to_thread(client.recv, 12), SECONDS)
        assert answer == b"HTTP/1.1 403"
        assert f"(pid {worker.pid}) did not respond for a minute and was killed: 0 connections" in caplog.text


@pytest.mark.parametrize("length", [1, 10_000_000], ids=["of which it takes all", "of which it takes a part"])
async def test_a_worker_that_hangs_before_it_serves_is_killed_and_has_failed_however_long_it_lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    monkeypatch.setattr(Start, "encode", lambda _: bytes(length))
    monkeypatch.setattr(member, "LOOK_SECONDS", 0.01)
    hangs = (sys.executable, "-c", "import time; time.sleep(3600)")
    policy = RestartPolicy(healthy=0.1, failures=2, pause=0.01)
    async with bed(tmp_path, program=hangs, policy=policy) as it:
        await it.fleet.take(1, it.frames())
        async with asyncio.timeout(20.0):
            with pytest.raises(CrewFailed, match="worker 0 failed 3 times in a row"):
                await it.fleet.start()
    assert caplog.text.count("did not respond for five minutes and was killed: 0 connections") == 3


async def test_a_worker_that_hangs_after_its_channel_was_closed_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LOOK_SECONDS", 0.01)
    hangs = (sys.executable, "-c", "import os, sys, time; os.close(int(sys.argv[2])); time.sleep(3600)")
    async with bed(tmp_path, program=hangs) as it:
        await it.fleet.take(1, it.frames())
        async with asyncio.timeout(SECONDS):
            with pytest.raises(CrewFailed, match="worker 0 failed 4 times in a row"):
                await it.fleet.start()


async def test_a_machine_that_is_short_of_processes_costs_no_other_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For as long as it lasts, and not only until so many attempts have failed."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(restarts, "SHORTAGE_SECONDS", 0.01)
    start, attempts = asyncio.create_subprocess_exec, 0

    async def start_none(*command: str, **options: Any) -> asyncio.subprocess.Process:
        nonlocal attempts
        attempts += 1
        if attempts < 3 * IMPATIENT.failures:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await start(*command, **options)

    async with bed(tmp_path, size=2) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        worker, other = it.workers()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_none)
        worker.kill()
        async with asyncio.timeout(SECONDS):
            while not (attempts and it.fleet.is_complete):  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)
        assert other in it.workers()
        assert attempts == 3 * IMPATIENT.failures
    assert "worker 0 cannot be started: Resource temporarily unavailable" in caplog.messages


@pytest.mark.parametrize(("module", "name"), [(socket, "socketpair"), (asyncio, "create_subprocess_exec")])
async def test_an_attempt_to_start_a_worker_that_fails_keeps_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """It is repeated for as long as there is none to spare."""

    def give_none(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        before = psutil.Process().num_fds()
        with monkeypatch.context() as patched:
            patched.setattr(module, name, give_none)
            assert await it.fleet.renew() == "the new worker 0 cannot be started: Too many open files"
        assert psutil.Process().num_fds() == before


WITH_ITS_OWN = """
import os, subprocess, sys
from gateway.app.workers import worker

ITS_OWN = "import time; from gateway.net.kernel.parents import die_with_parent as die; die(); print(1, flush=True)"
if not os.path.exists("was-first"):
    os.mkdir("was-first")
    own = subprocess.Popen([sys.executable, "-c", ITS_OWN + "; time.sleep(300)"], stdout=subprocess.PIPE)
    own.stdout.readline()
worker.main()
"""
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def inherits() -> Iterator[None]:
    """This process inherits what others leave, as the first one of a container does."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)


@pytest.mark.usefixtures("inherits")
@pytest.mark.parametrize("hangs", [False, True])
async def test_what_a_killed_worker_leaves_to_the_first_process_of_a_container_does_not_stay_as_zombies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """A large process takes a while to die."""
    wait, looks = os.waitpid, list[int]()

    def find_it_alive_first(pid: int, options: int) -> tuple[int, int]:
        if pid > 0 or looks:
            return wait(pid, options)
        looks.append(pid)
        return 0, 0

    monkeypatch.setattr(os, "waitpid", find_it_alive_first)
    monkeypatch.setattr(member, "GRACE_SECONDS", 0.1)
    async with bed(tmp_path, program=(sys.executable, "-c", WITH_ITS_OWN)) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [worker] = it.workers()
        if hangs:
            worker.suspend()
            assert await it.fleet.renew() is None  # and the old one was killed
        else:
            worker.kill()
            await it.becomes(0)
            await it.becomes(1)
        async with asyncio.timeout(SECONDS):
            while len(it.workers()) > 1:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)


async def test_a_place_that_waits_for_its_replacement_holds_up_no_end(tmp_path: Path) -> None:
    policy = RestartPolicy(pause=SECONDS + 20)
    async with bed(tmp_path, size=2, policy=policy) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        it.workers()[0].kill()
        async with asyncio.timeout(SECONDS):
            while it.fleet.is_complete:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.02)
            await it.fleet.drain(0.0)


async def test_a_worker_that_is_stopped_holds_up_an_end_at_once_for_no_longer_than_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(member, "GRACE_SECONDS", 0.1)
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [worker] = it.workers()
        worker.suspend()
        draining = asyncio.create_task(it.fleet.drain(SECONDS + 20))
        await asyncio.sleep(0)
        it.fleet.cut_off()
        async with asyncio.timeout(SECONDS):
            await draining
    assert f"(pid {worker.pid}) did not end in time and was killed" in caplog.text


async def test_a_replacement_that_is_being_started_when_all_end_ends_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, is_starting, goes_on = asyncio.create_subprocess_exec, asyncio.Event(), asyncio.Event()

    async def start_slowly(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*command, **options)
        is_starting.set()
        await goes_on.wait()
        return process

    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [worker] = it.workers()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_slowly)
        worker.kill()
        await is_starting.wait()
        ending = asyncio.create_task(it.fleet.drain(0.0))
        await asyncio.sleep(0)
        goes_on.set()
        await ending
        assert it.workers() == []


async def test_a_worker_that_has_nothing_to_tell_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LOOK_SECONDS", 3600.0)
    async with bed(tmp_path) as it:
        await it.fleet.take(1, it.frames())
        await it.fleet.start()
        [watched] = it.fleet._roster.members
        for _ in range(3):
            watched._silent_looks = member.SILENT_LOOKS
            async with asyncio.timeout(SECONDS):
                while watched._silent_looks:  # noqa: ASYNC110  # nobody is told of a message that says nothing
                    await asyncio.sleep(0.02)
        assert (watched.fault, it.fleet.totals().workers_lost) == ("", 0)
