"""A proxy from its start to its end."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import layout
from benchmarks.measure import process_tree
from benchmarks.proxies.launch import DESCRIPTORS, Launch

_START_LIMIT = 60.0
_STOP_LIMIT = 15.0
_SAME_DESCRIPTORS = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]


class ProxyFailed(Exception):
    """A proxy did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that listens; it took so many seconds until it did."""

    launch: Launch
    pid: int
    took: float


def _listens(pid: int, port: int) -> bool:
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for process in process_tree(pid)
        for connection in process.net_connections("tcp")
    )


def _serves(launch: Launch, pid: int, output: Path) -> bool:
    """The gateway listens before its workers have started."""
    return b"ready: " in output.read_bytes() if launch.is_gateway else _listens(pid, layout.PROXY_PORT)


def await_true(condition: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if condition():
                return True
        time.sleep(0.02)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the tree: politely first, so that logs are complete."""
    tree: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        tree = process_tree(process.pid)
    process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=_STOP_LIMIT)
    for survivor in alive:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    process.wait()


@contextmanager
def running(launch: Launch) -> Iterator[Running]:
    """The proxy listens while the block runs. Nothing connects to it to learn that: it would be counted."""
    launch.log.unlink(missing_ok=True)
    output = launch.configuration.with_suffix(".output")
    with ExitStack() as beside, output.open("wb") as stream:
        if launch.beside:
            beside.callback(_stop, subprocess.Popen(launch.beside, stderr=stream, start_new_session=True))
        began = time.monotonic()
        process = subprocess.Popen(
            [*_SAME_DESCRIPTORS, *launch.command],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, **launch.environ},
        )
        with _serving(launch, process, output, began) as running_one:
            yield running_one


@contextmanager
def _serving(launch: Launch, process: "subprocess.Popen[bytes]", output: Path, began: float) -> Iterator[Running]:
    try:
        ready = await_true(lambda: process.poll() is not None or _serves(launch, process.pid, output), _START_LIMIT)
        if not ready or process.poll() is not None:
            raise ProxyFailed(f"{launch.name} did not start:\n{output.read_text(errors='replace')[-2000:]}")
        yield Running(launch, process.pid, time.monotonic() - began)
        if process.poll() is not None:
            raise ProxyFailed(f"{launch.name} ended by itself:\n{output.read_text(errors='replace')[-2000:]}")
    finally:
        _stop(process)
