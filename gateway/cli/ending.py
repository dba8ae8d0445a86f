"""How commands end: with an error, or when they are interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def fail(what: object, status: int = 2) -> NoReturn:
    """Print why on standard error, and end with this status."""
    typer.echo(str(what), err=True)
    raise typer.Exit(status)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """For endless output: Ctrl-C ends it and is no failure."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
