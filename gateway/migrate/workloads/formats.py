"""Writes a block of variables for a shell, a .env file, a Kubernetes container or a program."""

import json
from collections.abc import Callable, Iterator, Mapping

from gateway.migrate.workloads.variables import Block

IN_CLUSTER = "$(KUBERNETES_SERVICE_HOST)"
"""Kubernetes fills in the API server's address, which some runtimes exempt only by address."""


def _shell(block: Block) -> Iterator[str]:
    yield from (f"# {remark}" for remark in block.remarks)
    yield from (f"export {name}='{value}'" for name, value in block.variables.items())


def _dotenv(block: Block) -> Iterator[str]:
    """Without quotes: some readers take them as part of the value."""
    yield from (f"# {remark}" for remark in block.remarks)
    yield from (f"{name}={value}" for name, value in block.variables.items())


def _kubernetes(block: Block) -> Iterator[str]:
    yield from (f"# {remark}" for remark in block.remarks)
    yield "env:"
    for name, value in block.variables.items():
        yield f"  - name: {name}"
        yield f"    value: {json.dumps(value)}"


def _json(block: Block) -> Iterator[str]:
    yield json.dumps(dict(block.variables), indent=2)


FORMATS: Mapping[str, Callable[[Block], Iterator[str]]] = {
    "shell": _shell,
    "dotenv": _dotenv,
    "kubernetes": _kubernetes,
    "json": _json,
}


def block_text(block: Block, format_: str) -> str:
    """`format_` is one of `FORMATS`. JSON holds the variables alone."""
    return "\n".join(FORMATS[format_](block)) + "\n"
