"""How a command ends that cannot do its work."""

from typing import NoReturn

import typer


def fail(what: object) -> NoReturn:
    """Say what is wrong on standard error, and end with status 2."""
    typer.echo(str(what), err=True)
    raise typer.Exit(2)
