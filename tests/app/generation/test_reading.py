"""A child process reads; whatever becomes of it, there is a whole generation or an error in words."""

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.app.configuration import Sources
from gateway.app.generation.assembler import Assembler, Generation, OwnAddresses
from gateway.app.generation.frames import load
from gateway.app.generation.reading import ChildReader, ReadFailed
from tests.app.policies import text, write


async def read(reader: ChildReader) -> Generation:
    assembler = Assembler(3, OwnAddresses())
    async with aclosing(reader()) as frames:
        async for frame in frames:
            assembler.take(load(frame))
    return assembler.finish()


def standing_in(script: str, seconds: float = 60.0) -> ChildReader:
    """A child that does what the script says instead."""
    return ChildReader(Sources(), os.environ, seconds, (sys.executable, "-c", script))


async def test_what_the_child_reads_is_put_together_here(tmp_path: Path) -> None:
    write(tmp_path / "users", "")
    config = write(tmp_path / "gateway.yaml", "{policy: p.yaml, drain: {timeout: 7s}}\n")
    write(tmp_path / "p.yaml", "{rules: [{name: a, hosts: [a.test], ports: [25]}]}\n")
    generation = await read(ChildReader(Sources(config), os.environ))
    assert generation.head.settings.drain.timeout == 7.0
    assert set(generation.head.files) == {config, tmp_path / "p.yaml"}
    assert [candidate.ref.name for candidate in generation.rules.candidates] == ["p.yaml#a"]
    [warning] = generation.head.warnings
    assert "25 (SMTP)" in warning
    assert generation.rules.generation == 3


async def test_the_environment_is_the_childs(tmp_path: Path) -> None:
    environ = {**os.environ, "EGRESS__POLICY": str(write(tmp_path / "p.yaml", text("env")))}
    generation = await read(ChildReader(Sources(write(tmp_path / "gateway.yaml", "")), environ))
    assert [candidate.ref.name for candidate in generation.rules.candidates] == ["p.yaml#env"]


async def test_nothing_that_lies_beside_the_policy_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write policies is not thereby the gateway, which knows keys and secrets."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "gateway.yaml", "{policy: p.yaml}\n")
    write(tmp_path / "p.yaml", text("a"))
    write(tmp_path / "yaml.py", "raise SystemExit('the policy runs')\n")
    generation = await read(ChildReader(Sources(), os.environ))
    assert [candidate.ref.name for candidate in generation.rules.candidates] == ["p.yaml#a"]


async def test_problems_of_the_files_come_with_their_lines(tmp_path: Path) -> None:
    policy = write(tmp_path / "p.yaml", "rules:\n- {name: a, hosts: ['*.*']}\n- {name: b, hots: []}\n")
    with pytest.raises(ReadFailed) as failure:
        await read(ChildReader(Sources(policy=policy), os.environ))
    places = [problem.split(": ")[0] for problem in failure.value.problems]
    assert places == [f"{policy}:2", f"{policy}:3"]


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("", "status 0"),
        ("raise SystemExit(7)", "status 7"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        (r"import sys; sys.stdout.buffer.write(b'F\0\0\1\0abc')", "status 0"),
    ],
    ids=["says nothing", "gives up", "is killed", "stops in the middle"],
)
async def test_a_child_that_ends_too_early_is_told_with_how_it_ended(script: str, how: str) -> None:
    with pytest.raises(ReadFailed) as failure:
        await read(standing_in(script))
    assert failure.value.problems == (f"the process that read the files ended before it was done ({how})",)


async def test_a_child_that_hangs_is_ended_after_its_time() -> None:
    with pytest.raises(ReadFailed) as failure:
        await read(standing_in("import time; time.sleep(60)", 0.2))
    assert failure.value.problems == ("the files were not read within 0.2 s",)


async def test_a_child_that_cannot_be_started_is_told() -> None:
    with pytest.raises(ReadFailed, match="cannot start a process to read the files: No such file"):
        await read(ChildReader(Sources(), os.environ, 1.0, ("/nowhere/python",)))


async def test_the_child_goes_with_whoever_asked(tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    script = f"import os, time, pathlib; pathlib.Path({str(pipe)!r}).write_text(str(os.getpid())); time.sleep(60)"
    reading = asyncio.create_task(read(standing_in(script)))
    pid = int(await asyncio.to_thread(pipe.read_text))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_to_which_nobody_listens_any_more_says_nothing_of_it(tmp_path: Path) -> None:
    policy = write(tmp_path / "p.yaml", text("a"))
    ours, its = os.pipe()
    os.close(ours)
    with os.fdopen(its, "wb") as deaf:
        command = (sys.executable, "-P", "-m", "gateway.app.generation.child", "", str(policy))
        assert subprocess.run(command, stdout=deaf, stderr=subprocess.PIPE, timeout=60, check=False).stderr == b""
