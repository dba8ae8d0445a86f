"""How a command ends that cannot do its work."""

from typing import NoReturn

import typer


def fail(what: object, status: int = 2) -> NoReturn:
    """Say what is wrong on standard error, and end."""
    typer.echo(str(what), err=True)
    raise typer.Exit(status)
