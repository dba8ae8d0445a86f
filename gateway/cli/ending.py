"""How a command ends that cannot do its work, and one that works until somebody has seen enough."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def fail(what: object, status: int = 2) -> NoReturn:
    """Say what is wrong on standard error, and end."""
    typer.echo(str(what), err=True)
    raise typer.Exit(status)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """For what goes on for ever: Ctrl-C is its end and no failure."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
