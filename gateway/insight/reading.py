"""Reads files of records: any of our formats, plain or gzip, one after the other, standard input as `-`.

A file's format is found by its first line that any reader takes; a line that the format's reader does not take is
counted and skipped, for logs end in the middle of lines and hold lines of other programs.
"""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase, BufferedReader

from gateway.telemetry.formats import envoy, json, squid, text, vpc
from gateway.telemetry.formats.fields import NotARecord, Recorded

STDIN = "-"
LONGEST_LINE = 1 << 20
_GZIP = b"\x1f\x8b"
_TRIED_LINES = 20
_TOLD = 5
_LINES_A_TICK = 4096

Decode = Callable[[bytes], Recorded | None]
Tick = Callable[[int], None]


class Unreadable(Exception):
    """A file cannot be opened, or holds no records; the text says which and why."""


@dataclass(slots=True)
class Reading:
    """Counts of lines. `strange` are places of the first lines that were skipped."""

    lines: int = 0
    passed_over: int = 0
    strange: list[str] = field(default_factory=list)


def readers(fields: Sequence[str] | None = None) -> dict[str, Decode]:
    """By format, the surest first. `fields` are those of flow logs without a line of names."""
    return {
        "json": json.skim,
        "envoy": envoy.decode,
        "squid": squid.decode,
        "text": text.decode,
        "vpc": vpc.FlowReader(fields or vpc.DEFAULT_FIELDS).decode,
    }


def read_records(
    paths: Sequence[str],
    reading: Reading,
    format_: str | None = None,
    fields: Sequence[str] | None = None,
    tick: Tick | None = None,
) -> Iterator[Recorded]:
    """All records of all files. `tick` is called now and then with the number of bytes read of the current file, as it
    is on disk. Raises `Unreadable`."""
    for path in paths:
        try:
            with _opened(path) as raw, _unpacked(raw) as lines:
                told = _told(lines, raw, tick) if tick is not None and path != STDIN else _lines(lines)
                yield from _of_file(path, told, reading, format_, fields)
        except (OSError, EOFError, zlib.error) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Unreadable(f"{path}: {why}") from error


def _opened(path: str) -> BufferedReader:
    descriptor: int | str = sys.stdin.fileno() if path == STDIN else path
    return open(descriptor, "rb", closefd=path != STDIN)


@contextmanager
def _unpacked(raw: BufferedReader) -> Iterator[BufferedIOBase]:
    if raw.peek(2)[:2] != _GZIP:
        yield raw
        return
    with gzip.GzipFile(fileobj=raw) as unpacked:
        yield unpacked


def _lines(lines: BufferedIOBase) -> Iterator[bytes]:
    return iter(partial(lines.readline, LONGEST_LINE), b"")


def _told(lines: BufferedIOBase, raw: BufferedReader, tick: Tick) -> Iterator[bytes]:
    for number, line in enumerate(_lines(lines)):
        yield line
        if number % _LINES_A_TICK == 0:
            tick(raw.tell())
    tick(raw.tell())


def _of_file(
    path: str, lines: Iterable[bytes], reading: Reading, format_: str | None, fields: Sequence[str] | None
) -> Iterator[Recorded]:
    decode = readers(fields)[format_] if format_ is not None else None
    strange = read = 0
    for number, line in enumerate(lines, start=1):
        reading.lines += 1
        try:
            decode = decode or _reader_for(line, fields)
            record = decode(line)
        except NotARecord as refusal:
            strange += 1
            _pass_over(reading, f"{path}:{number}: {refusal}")
            if not read and strange >= _TRIED_LINES:
                break
            continue
        read += 1
        if record is not None:
            yield record
    if strange and not read:
        raise Unreadable(f"{path}: holds no records; {reading.strange[-1]}")


def _reader_for(line: bytes, fields: Sequence[str] | None) -> Decode:
    for decode in readers(fields).values():
        try:
            decode(line)
        except NotARecord:
            continue
        return decode
    raise NotARecord(f"a line of no known format: {', '.join(readers())}")


def _pass_over(reading: Reading, where: str) -> None:
    reading.passed_over += 1
    if len(reading.strange) < _TOLD:
        reading.strange.append(where)
