"""The process of an inspector: it answers in order, is ended when it does not, and is replaced."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gateway.intercept.hosted import hosting
from gateway.intercept.hosted.frames import CLOSE, DROP, READY, Frames, Question, encode_frame
from gateway.intercept.hosted.hosting import Declaration, HostedKind, HostedSession, probe
from gateway.intercept.hosted.kinds import BadInspector
from gateway.intercept.inspecting.sessions import Failed
from gateway.intercept.inspectors import Answer, RequestHead, ResponseHead, annotate, deny
from tests.flows.inspectors import install_kinds
from tests.helpers.distribution import install

LONG = 20.0


@pytest.fixture(autouse=True)
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(install_kinds(tmp_path / "site")))


def harmful(timeout: float = 1.0) -> HostedKind:
    return HostedKind(Declaration("harm", "harmful", {}, timeout))


def head(harm: str = "") -> RequestHead:
    return RequestHead("GET", "https", "a.test", 443, "/", (("X-Harm", harm),))


async def ask(session: HostedSession, method: str, shown: object) -> Answer | Failed:
    answered: asyncio.Future[Answer | Failed] = asyncio.get_running_loop().create_future()
    session.ask(method, shown, answered.set_result)
    return await asyncio.wait_for(answered, LONG)


async def test_it_answers_and_tells_which_methods_there_are() -> None:
    kind = harmful()
    session = kind.open()
    assert await ask(session, "request_head", head()) == annotate("harm", "none")
    assert session.methods == {"request_head", "request_chunk", "response_head", "response_chunk"}
    session.close()
    kind.retire()


@pytest.mark.parametrize("harm", ["sleep", "slow-failure"])
async def test_one_that_is_slow_is_interrupted_and_the_process_goes_on(harm: str) -> None:
    kind = harmful()
    slow, other = kind.open(), kind.open()
    process = kind.process()
    first = asyncio.create_task(ask(slow, "request_head", head(harm)))
    await asyncio.sleep(0)
    assert await ask(other, "request_head", head()) == annotate("harm", "none")
    assert await first == Failed("took longer than 1 s")
    assert kind.process() is process
    kind.retire()
    for session in (slow, other):
        session.close()
    assert process.is_over


@pytest.mark.parametrize("harm", ["dawdle", "dawdle-and-deny"])
async def test_what_was_shown_behind_a_failure_or_denial_holds_up_nobody(harm: str) -> None:
    kind = harmful(timeout=0.5)
    one, other = kind.open(), kind.open()
    assert await ask(one, "request_head", head(harm)) == annotate("harm", "none")
    answers = [asyncio.create_task(ask(one, "request_chunk", b"x")) for _ in range(20)]
    await asyncio.sleep(0)
    assert await ask(other, "request_head", head()) == annotate("harm", "none")
    first, *rest = await asyncio.gather(*answers)
    for session in (one, other):
        session.close()
    kind.retire()
    assert first == (Failed("took longer than 0.5 s") if harm == "dawdle" else deny("late"))
    assert set(rest) == {Failed("was not asked any more")}


@pytest.mark.parametrize("closes", [True, False])
async def test_nothing_is_done_for_those_who_wait_no_longer(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else, once more is asked than can be answered in time, nobody is answered any more."""
    monkeypatch.setattr("gateway.intercept.hosted.hosting.MOST_TIMEOUTS_WAITED", 10 if closes else 1)
    kind = harmful(timeout=0.5)
    sessions = [kind.open() for _ in range(20)]
    assert await ask(sessions[0], "request_head", head()) == annotate("harm", "none")  # it runs
    asked = [asyncio.create_task(ask(each, "request_head", head("nap"))) for each in sessions]
    await asked[1]
    if closes:
        for each in sessions[3:]:
            each.close()
    late = kind.open()
    assert await ask(late, "request_head", head()) == annotate("harm", "none")
    answers = await asyncio.gather(*asked[3:])
    for session in (*sessions, late):
        session.close()
    kind.retire()
    why = "was not asked any more" if closes else "its process was busy for too long"
    assert set(answers[1:]) == {Failed(why)}


async def test_the_time_that_a_process_takes_to_start_is_nobodys_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intercept.hosted.hosting.MOST_TIMEOUTS_WAITED", 1)
    kind = HostedKind(Declaration("harm", "harmful", {"start": 1.3}, 1.0))
    sessions = [kind.open() for _ in range(3)]
    answers = await asyncio.gather(*[ask(each, "request_head", head()) for each in sessions])
    for session in sessions:
        session.close()
    kind.retire()
    assert answers == [annotate("harm", "none")] * 3


async def test_one_that_cannot_be_interrupted_costs_the_process_and_another_is_started() -> None:
    kind = harmful()
    stuck, waiting, late = kind.open(), kind.open(), kind.open()
    assert await ask(waiting, "request_head", head()) == annotate("harm", "none")  # it runs
    began = time.monotonic()
    asked = [asyncio.create_task(ask(stuck, "request_head", head("spin")))]
    await asyncio.sleep(0)
    asked.append(asyncio.create_task(ask(waiting, "request_chunk", b"x")))
    for answer in await asyncio.gather(*asked):
        assert answer == Failed("its process did not answer within 1.5 s")
    assert time.monotonic() - began < 15
    assert await ask(late, "request_head", head()) == annotate("harm", "none")
    for session in (stuck, waiting, late):
        session.close()
    kind.retire()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
async def test_what_a_whole_group_is_told_is_for_the_gateway_alone(number: signal.Signals) -> None:
    """As by a terminal that closes, or by who stops a service: exchanges that drain are still looked at."""
    kind = harmful()
    session = kind.open()
    assert await ask(session, "request_head", head()) == annotate("harm", "none")
    child = kind.process()._child
    assert child is not None
    child.send_signal(number)
    answer = await ask(session, "response_chunk", b"forbidden")
    session.close()
    kind.retire()
    assert answer == deny("a word")


class Child:
    """In place of a process: a socket, at whose other end the test answers."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair()

    def start(self) -> tuple[socket.socket, "Child"]:
        return self.socket, self

    def say(self, *heads: object) -> None:
        self.theirs.sendall(b"".join(map(encode_frame, heads)))

    def kill(self) -> None:
        self.theirs.close()

    def wait(self) -> None: ...


async def test_thousands_that_have_waited_too_long_take_time_that_grows_with_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer looked at all of them: with 32,000 that took 14 ms."""
    monkeypatch.setattr(hosting, "MOST_TIMEOUTS_WAITED", 0)

    async def seconds(questions: int) -> float:
        child = Child()
        monkeypatch.setattr(hosting, "_start", child.start)
        kind = harmful(timeout=LONG)
        session, answers = kind.open(), list[Answer | Failed]()
        session.ask("request_head", head(), answers.append)
        child.say([READY, ["request_head", "request_chunk"]], [None, [], 0, False])
        while not answers:  # noqa: ASYNC110  # sessions tell nobody who waits
            await asyncio.sleep(0.001)
        for _ in range(questions):
            session.ask("request_chunk", b"x", answers.append)
        started = time.process_time()
        for _ in range(0, questions, 100):
            child.say(*[[None, [], 0, False]] * 100)
            await asyncio.sleep(0)
        while kind.process()._pending:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.001)
        taken = time.process_time() - started
        session.close()
        kind.retire()
        assert answers.count(Failed("its process was busy for too long")) >= questions - 2  # each but whose turn it was
        return taken

    async def least(questions: int) -> float:
        """Of a few times: a collection of all that other tests left may fall into one."""
        return min([await seconds(questions) for _ in range(3)])

    assert await least(8_000) < 10 * max(await least(2_000), 0.01)


async def test_nothing_more_is_said_of_a_session_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process would remember it for ever."""
    monkeypatch.setattr(hosting, "MOST_TIMEOUTS_WAITED", 0)
    child = Child()
    monkeypatch.setattr(hosting, "_start", child.start)
    kind = harmful(timeout=LONG)
    one, other, closed = (kind.open() for _ in range(3))
    answers = list[Answer | Failed]()
    for session in (one, other, closed):
        session.ask("request_head", head(), answers.append)
    closed.close()
    child.say([READY, ["request_head"]], [None, [], 0, False])
    while len(answers) < 3:  # noqa: ASYNC110  # sessions tell nobody who waits
        await asyncio.sleep(0.001)
    _, *heard = Frames(2**20).feed(child.theirs.recv(2**20))
    for session in (one, other):
        session.close()
    kind.retire()
    told = [(question.session, question.method) for question in (Question.decode(*frame) for frame in heard)]
    assert told == [(1, "request_head"), (2, "request_head"), (3, "request_head"), (3, CLOSE), (2, DROP)]


async def test_what_was_begun_in_a_process_that_died_fails() -> None:
    kind = harmful()
    session = kind.open()
    await ask(session, "request_head", head("die"))
    assert await ask(session, "response_head", ResponseHead(200, ())) == Failed("its process has ended")
    assert await ask(session, "response_chunk", b"") == Failed("its process has ended")
    session.close()
    kind.retire()


@pytest.mark.parametrize(
    ("fault", "why"), [(OSError(12, "no memory"), "no memory"), (RuntimeError("no thread"), "no thread")]
)
async def test_one_that_cannot_be_started_is_known_at_once(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, why: str
) -> None:
    async def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(asyncio, "to_thread", fail)
    kind = harmful()
    session = kind.open()
    assert await ask(session, "request_head", head()) == Failed(f"its process cannot be started: {why}")
    session.close()
    kind.retire()


async def test_one_that_ends_where_no_thread_can_be_started_leaves_no_zombie(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = harmful()
    session = kind.open()
    assert await ask(session, "request_head", head()) == annotate("harm", "none")
    child = kind.process()._child
    assert child is not None

    async def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio, "to_thread", fail)
    session.close()
    kind.retire()
    async with asyncio.timeout(LONG):
        while psutil.pid_exists(child.pid):  # noqa: ASYNC110  # a zombie does, and nobody tells
            await asyncio.sleep(0.01)


async def test_one_that_keeps_ending_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intercept.hosted.hosting.MOST_STARTS", 2)
    kind = harmful()
    processes = set()
    for _ in range(4):
        session = kind.open()
        processes.add(kind.process())
        await ask(session, "request_head", head("die"))
        assert await ask(session, "response_head", ResponseHead(200, ())) == Failed("its process has ended")
        session.close()
    assert len(processes) == 2
    kind.retire()


async def test_sessions_know_nothing_of_each_other() -> None:
    kind = harmful()
    one, two = kind.open(), kind.open()
    assert await ask(one, "response_chunk", b"forbid") == Answer()
    assert await ask(two, "response_chunk", b"den") == Answer()
    assert await ask(one, "response_chunk", b"den") == deny("a word")
    for session in (one, two):
        session.close()
    kind.retire()


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [("drafts", {"marker": 7}, "marker must be a text"), ("nothing", {}, "no kind 'nothing' is installed")],
)
def test_options_are_tried_in_a_process(kind: str, options: dict[str, object], why: str) -> None:
    with pytest.raises(BadInspector, match=why):
        probe(Declaration("x", kind, options, 1.0))


def test_options_that_are_taken_pass() -> None:
    probe(Declaration("x", "drafts", {"marker": "DRAFT"}, 1.0))


def test_nothing_in_the_working_directory_is_run_as_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orjson.py").write_text("raise SystemExit('somebody else runs')\n")
    probe(Declaration("x", "drafts", {"marker": "DRAFT"}, 1.0))


def test_one_that_hangs_does_not_outlive_a_gateway_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    kind = f"import pathlib, time\ndef build(options):\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(300)\n"
    entry_point = "[egress_gateway.inspectors]\nhangs = hangs:build\n"
    monkeypatch.setenv("PYTHONPATH", str(install(tmp_path / "other", "hanging", {"hangs": kind}, entry_point)))
    starts = f"import {hosting.__name__} as it\nit.probe(it.Declaration('x', 'hangs', {{}}, 1.0))"
    with subprocess.Popen([sys.executable, "-c", starts]) as gateway:
        try:
            deadline = time.monotonic() + LONG
            while not begun.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            [hung] = psutil.Process(gateway.pid).children()
        finally:
            gateway.kill()
    gone, left = psutil.wait_procs([hung], timeout=LONG)
    for each in left:
        each.kill()
    assert gone == [hung]
