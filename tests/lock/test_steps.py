"""What is done, in which order, and that what is shown is that."""

import subprocess
from pathlib import Path

from gateway.lock.capture import Capture, Place
from gateway.lock.steps import Step, script, steps_to_apply, steps_to_remove

TPROXY = Capture(Place.TPROXY, 15001, ("eth1",))
REDIRECT = Capture(Place.REDIRECT, 15001, ("eth1",))


def test_what_was_there_before_is_taken_away_first() -> None:
    for capture in (TPROXY, REDIRECT):
        steps = steps_to_apply(capture)
        assert [step.removes for step in steps] == [True] * 4 + [False] * (len(steps) - 4)
        assert steps[-1].command == ("nft", "-f", "-")


def test_only_tproxy_needs_policy_routing() -> None:
    assert len(steps_to_apply(REDIRECT)) == 5
    added = [step.command for step in steps_to_apply(TPROXY) if not step.removes and not step.text]
    assert [command[:4] for command in added] == [
        ("ip", "-4", "rule", "add"),
        ("ip", "-4", "route", "add"),
        ("ip", "-6", "rule", "add"),
        ("ip", "-6", "route", "add"),
    ]
    assert added[0][6:8] == ("fwmark", "0x1000/0x1000")


def test_nothing_is_marked_any_more_when_its_route_is_taken_away() -> None:
    first, *others = steps_to_remove()
    assert first.text == "table inet egress_gateway\ndelete table inet egress_gateway\n"
    assert all(step.removes for step in others)


def test_the_script_runs_every_step_with_its_input(tmp_path: Path) -> None:
    for name in ("ip", "nft"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n[ "$1" = -f ] && cat\nexit 0\n')
        program.chmod(0o755)
    steps = steps_to_apply(TPROXY)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh"], input=script(steps), capture_output=True, text=True, env=environ)
    assert done.returncode == 0
    assert done.stdout == "".join(f"{' '.join(step.command)}\n{step.text}" for step in steps)


def test_the_script_ends_at_a_step_that_fails() -> None:
    steps = [Step(("false",), removes=True), Step(("false",)), Step(("echo", "never"))]
    done = subprocess.run(["sh"], input=script(steps), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
