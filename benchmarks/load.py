"""Builds, starts and controls the origin and the load generators; load.c, requests.c and origin.c say what they do."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks import layout
from benchmarks.isolation import Unusable

BUILD = layout.HERE / "build"


class LoadFailed(Exception):
    """The load generator saw an error, or ended without a result."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the load generator: units of work done, tunnels opened so far, errors, bytes, wall-clock and own CPU
    seconds, and quantiles of its latencies in microseconds, 0 if it measures none."""

    phase: str
    units: int
    tunnels: int
    errors: int
    bytes: int
    seconds: float
    cpu_seconds: float
    first_error: str
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0

    @classmethod
    def from_line(cls, line: str) -> "Result":
        if not line:
            raise LoadFailed("the load generator ended without a result")
        result = cls(**json.loads(line))
        if result.errors:
            raise LoadFailed(f"{result.errors} errors, the first: {result.first_error}")
        return result


def build() -> None:
    """Compile what is older than its source."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unusable("a C compiler is missing: apt-get install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    header = layout.HERE / "wire.h"
    for name in ("load", "requests", "origin"):
        source, program = layout.HERE / f"{name}.c", BUILD / name
        newest = max(source.stat().st_mtime, header.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            unfinished = BUILD / f"{name}.{os.getpid()}"
            subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", unfinished, source], check=True)
            unfinished.replace(program)


def _range(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


@contextmanager
def origin(
    tls: tuple[int, int] = layout.TLS_PORTS,
    echo: tuple[int, int] = layout.ECHO_PORTS,
    bulk: tuple[int, int] = layout.BULK_PORTS,
    http: tuple[int, int] = layout.HTTP_PORTS,
) -> Iterator[None]:
    """The origin listens while the block runs."""
    roles = [f"tls={_range(tls)}", f"echo={_range(echo)}", f"bulk={_range(bulk)}", f"http={_range(http)}"]
    command = [str(BUILD / "origin"), layout.ORIGIN, *roles]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise LoadFailed("the origin could not listen")
            yield
        finally:
            process.kill()


class Load:
    """A running load generator; `load.c` says which mode prints what, and when it waits."""

    def __init__(self, process: "subprocess.Popen[str]", output: IO[str], control: IO[str]) -> None:
        self._process, self._output, self._control = process, output, control

    def read(self) -> Result:
        return Result.from_line(self._output.readline())

    def go_on(self) -> Result:
        """Let it do the next thing and read what it says then."""
        self._control.write("\n")
        self._control.flush()
        return self.read()


@contextmanager
def generate(
    mode: str,
    ports: tuple[int, int],
    counts: Mapping[str, int],
    *,
    proxy_port: int = layout.PROXY_PORT,
    groups: int = layout.GROUPS,
    hellos: Sequence[Path] = (),
    program: str = "load",
    captured: bool = False,
    target: str = layout.TARGET,
) -> Iterator[Load]:
    """Run a load generator until the block ends; `counts` are its numeric options. `captured`: it dials the origin
    itself, which leads to the gateway only if there are routes for that."""
    options = {
        "proxy": f"127.0.0.1:{proxy_port}",
        "target": target,
        "ports": _range(ports),
        "groups": groups,
        **counts,
    }
    command = [str(BUILD / program), mode]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    if captured:
        command += ["--captured", "1"]
    for hello in hellos:
        command += ["--hello", str(hello)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            yield Load(process, process.stdout, process.stdin)
        finally:
            process.kill()
