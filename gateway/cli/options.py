"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail

Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="gateway.yaml; default ./gateway.yaml, if it exists.", readable=False
    ),
]
TableOrJson = Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="Output format.")]


def wants_json(output: str) -> bool:
    """Whether `TableOrJson` asks for JSON; ends the command if it is neither."""
    if output not in ("table", "json"):
        fail(f"-o is table or json, not {output!r}")
    return output == "json"
