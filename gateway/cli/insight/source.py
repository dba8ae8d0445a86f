"""Reads records, with a progress bar on terminals, and reports the lines that were skipped."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.console import complaints, plain, say
from gateway.cli.ending import fail
from gateway.insight.reading import STDIN, Reading, read_records, readers
from gateway.telemetry.formats.fields import Recorded
from gateway.telemetry.formats.vpc import VERSIONS


@dataclass(slots=True)
class Source:
    """Files of records, and counts of their lines."""

    paths: Sequence[str]
    format_: str | None
    fields: Sequence[str] | None
    reading: Reading = field(default_factory=Reading)

    @classmethod
    def of(cls, paths: Sequence[str], format_: str | None, fields: str | None) -> Self:
        """From the command line; ends the command if an option is invalid."""
        if format_ is not None and format_ not in readers():
            fail(f"--format is one of {', '.join(readers())}, not {format_!r}")
        names = None if fields is None else fields.replace(",", " ").split()
        unknown = next((name for name in names or () if name not in VERSIONS), None)
        if unknown is not None:
            fail(f"--fields: {unknown!r} is not a field of VPC flow logs")
        return cls(paths, format_, names)

    @contextmanager
    def records(self) -> Iterator[Iterator[Recorded]]:
        """All of them, while the bar moves. Raises `Unreadable` while they are read."""
        if not sys.stderr.isatty() or STDIN in self.paths:
            yield read_records(self.paths, self.reading, self.format_, self.fields)
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that a terminal gets its cursor back
        signal.signal(signal.SIGTERM, _end)
        columns = TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        with Progress(*columns, console=complaints(), transient=True) as progress:
            task = progress.add_task("", total=sum(_size(path) for path in self.paths))
            yield self._with_bar(progress, task)

    def _with_bar(self, progress: Progress, task: int) -> Iterator[Recorded]:
        done = 0
        for path in self.paths:
            before = done

            def tick(position: int, before: int = before) -> None:
                progress.update(task, completed=before + position)  # type: ignore[arg-type]  # a TaskID is an int

            yield from read_records([path], self.reading, self.format_, self.fields, tick)
            done = before + _size(path)

    def tell(self) -> None:
        """Print on standard error which lines were skipped, or that there were none."""
        if not self.reading.lines:
            say(complaints(), f"no lines in {', '.join(self.paths)}", "yellow")
        if self.reading.skipped:
            say(complaints(), f"skipped {self.reading.skipped} of {self.reading.lines} lines, such as")
            for where in self.reading.examples:
                say(complaints(), plain(f"  {where}"))


def _end(number: int, _: object) -> NoReturn:
    """With the status that a shell gives to what a signal has ended."""
    raise SystemExit(128 + number)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # reported when it is opened
        return 0
