"""Reads files of records: any of our formats, plain or gzip, one after the other, standard input as `-`.

A file's format is that of the first line that any reader accepts; a line that its reader then rejects is counted and
skipped, because logs may end inside a line and hold lines of other programs.
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
from gateway.telemetry.formats.fields import NotARecord, OtherTraffic, Recorded

STDIN = "-"
LONGEST_LINE = 1 << 20
_GZIP = b"\x1f\x8b"
_TRIED_LINES = 1_000  # the log of a container begins with those of the start and of every reload
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EXAMPLES = 5
_LINES_A_TICK = 4096

Decode = Callable[[bytes], Recorded | None]
Tick = Callable[[int], None]


class Unreadable(Exception):
    """A file cannot be opened, or holds no records; the text says which and why."""


@dataclass(slots=True)
class Reading:
    """Counts of lines. `examples` are the first lines that were skipped, each with its place and the reason."""

    lines: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)


def readers(fields: Sequence[str] | None = None) -> dict[str, Decode]:
    """By format, the least ambiguous first. `fields` are those of flow logs without a line of names."""
    return {
        "json": json.decode,
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
    """All records of all files. `tick` is called now and then with the number of bytes that were read of the current
    file on disk. Raises `Unreadable`."""
    for path in paths:
        try:
            with _opened(path) as raw, _unpacked(raw) as file:
                lines = _ticking(file, raw, tick) if tick is not None and path != STDIN else _lines(file)
                yield from _of_file(path, lines, reading, format_, fields)
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


def _lines(file: BufferedIOBase) -> Iterator[bytes]:
    return iter(partial(file.readline, LONGEST_LINE), b"")


def _ticking(file: BufferedIOBase, raw: BufferedReader, tick: Tick) -> Iterator[bytes]:
    for number, line in enumerate(_lines(file)):
        yield line
        if number % _LINES_A_TICK == 0:
            tick(raw.tell())
    tick(raw.tell())


def _of_file(
    path: str, lines: Iterable[bytes], reading: Reading, format_: str | None, fields: Sequence[str] | None
) -> Iterator[Recorded]:
    decode = readers(fields)[format_] if format_ is not None else None
    skipped = read = 0
    first = ""
    for number, line in enumerate(lines, start=1):
        reading.lines += 1
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)  # noqa: PLW2901
        try:
            decode = decode or _reader_for(line, fields)
            record = decode(line)
        except NotARecord as refusal:
            skipped += 1
            read += isinstance(refusal, OtherTraffic)
            example = f"{path}:{number}: {refusal}"
            first = first or example
            _skip(reading, example)
            if not read and skipped >= _TRIED_LINES:
                break
            continue
        read += 1
        if record is not None:
            yield record
    if skipped and not read:
        raise Unreadable(f"{path}: holds no records; {first}")


def _reader_for(line: bytes, fields: Sequence[str] | None) -> Decode:
    for decode in readers(fields).values():
        try:
            decode(line)
        except OtherTraffic:
            return decode
        except NotARecord:
            continue
        return decode
    raise NotARecord(f"not a line of {', '.join(readers())}")


def _skip(reading: Reading, example: str) -> None:
    reading.skipped += 1
    if len(reading.examples) < _EXAMPLES:
        reading.examples.append(example)
