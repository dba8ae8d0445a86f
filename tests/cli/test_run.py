"""`run`: what is read at the start does not outlive its use, and is told of if it takes long."""

import logging
import time
from types import SimpleNamespace
from typing import Any, ClassVar
from weakref import ref

import pytest

from gateway.cli import run


class Read:
    """What stands in the place of a configuration."""

    head = SimpleNamespace(settings=None)


class FakeProcess:
    """Looks, once it serves, for what it was made of."""

    seen: ClassVar[list[Read | None]] = []

    def __init__(self, _loop: object, first: Read, _read: object, _sockets: object) -> None:
        self._first = ref(first)

    async def run(self) -> None:
        self.seen.append(self._first())


def test_what_was_read_at_the_start_is_held_by_nobody_but_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large policy would be held twice for as long as the process lives."""

    def nothing(*_: object) -> Any:
        return None

    of_the_process = "raise_descriptor_limit", "leave_no_core", "handle_signals_until_ready", "ignore_signals"
    for name in (*of_the_process, "check_export", "count_workers", "bind_sockets"):
        monkeypatch.setattr(run, name, nothing)
    monkeypatch.setattr(run, "load_configuration", lambda *_: Read())
    monkeypatch.setattr(run, "GatewayProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "seen", [])
    run.run_gateway(None, None, {})
    assert FakeProcess.seen == [None]


def test_reading_that_takes_long_is_told_of_meanwhile_and_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with run.told_if_long(0.01):
        deadline = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert caplog.messages == ["still reading the policy and the other files"]
    assert caplog.messages[1].startswith("the files were read in ")
    with run.told_if_long(60):
        pass
    assert len(caplog.messages) == 2
