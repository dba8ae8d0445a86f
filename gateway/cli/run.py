"""`egress-gateway run`: from files to a serving process; a start reports its problems in one line each."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

import uvloop

from gateway.app.configuration import Configuration, Sources, check_export, load_configuration
from gateway.app.generation.reading import ChildReader, Read
from gateway.app.process import GatewayProcess, count_workers, leave_no_core, raise_descriptor_limit
from gateway.app.sockets import bind_sockets
from gateway.settings.load import GATEWAY_FILE
from gateway.settings.source.files import is_there
from gateway.telemetry.logs.stderr import log_to_stderr

LONG_SECONDS = 2.0

_logger = logging.getLogger(__name__)


def run_gateway(config: Path | None, policy: Path | None, overrides: Mapping[str, str]) -> None:
    """Serve until a signal. `overrides` are `EGRESS__` entries that the command line adds to the environment.

    Raises `ConfigErrors` or `ConfigError` before anything is served, `CrewFailed` when nobody can serve any more.
    """
    log_to_stderr()
    raise_descriptor_limit()
    leave_no_core()
    handle_signals_until_ready()
    environ = {**os.environ, **overrides}

    sources = Sources(config or _default_file(), policy)
    with told_if_long():
        serving = _serve(load_configuration(sources, environ), ChildReader(sources, environ))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def _default_file() -> Path | None:
    """If it exists at the start it counts as named: a reload that finds it gone then keeps its settings, rather than
    fall back to the defaults, which deny no addresses and require no identity."""
    return GATEWAY_FILE if is_there(GATEWAY_FILE) else None


@contextlib.contextmanager
def told_if_long(seconds: float = LONG_SECONDS) -> Iterator[None]:
    """Log that the files are still being read, and how long it took: a policy of 100,000 rules takes many seconds,
    during which nothing else happens."""
    began_at = time.monotonic()
    alarm = threading.Timer(seconds, _logger.info, ["still reading the policy and the other files"])
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()
    took = time.monotonic() - began_at
    if took >= seconds:
        _logger.info("the files were read in %.1f s", took)


def handle_signals_until_ready() -> None:
    """SIGTERM ends at once, even in the first process of a container, for which the kernel ignores signals without a
    handler; SIGHUP and SIGUSR2 are ignored, since the start reads the files and starts workers anyway."""
    signal.signal(signal.SIGTERM, _end)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


async def _serve(first: Configuration, read: Read) -> None:
    check_export(first.head.settings, os.environ)  # here, not once in each worker
    sockets = bind_sockets(first.head.settings, count_workers(first.head.settings))
    process = GatewayProcess(asyncio.get_running_loop(), first, read, sockets)
    del first  # this frame lasts as long as the process, and what was read should be freed once it is in force
    try:
        await process.run()
    finally:
        ignore_signals()


def ignore_signals() -> None:
    """All is done: a signal that comes now, when the loop obeys none any more, must not become the status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
