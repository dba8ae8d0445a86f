"""Policies in files, as the process reads them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from gateway.app.configuration import Configuration, Sources, load_configuration
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame, contents_of, dump
from gateway.app.generation.in_force import InForce
from gateway.app.generation.reading import Read, ReadFailed
from gateway.app.reloads import Reloads
from gateway.model.addresses import Address
from gateway.settings.problems import ConfigErrors


def text(name: str) -> str:
    """A policy of one rule of that name."""
    return f"rules: [{{name: {name}, hosts: [{name}.test]}}]\n"


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def load(path: Path) -> Configuration:
    return load_configuration(Sources(policy=path), {})


class Here(Reloads):
    """The policy of a process that serves by itself: `serving` is what its connections are judged by."""

    def __init__(
        self, first: Configuration, read: Read, listening: frozenset[tuple[Address, int]] = frozenset()
    ) -> None:
        self.serving = InForce(listening, Entrances(first.head.settings, first.head.materials))
        super().__init__(first, read, self.serving.take)


async def in_force(path: Path) -> Here:
    """What is there now, ready to be read again."""
    return await begun(Here(load(path), reading(lambda: load(path))))


async def begun(policy: Here) -> Here:
    await policy.begin()
    return policy


def reading(load: Callable[[], Configuration]) -> Read:
    """As a child process reads, in this one."""

    async def read() -> AsyncGenerator[Frame, None]:
        try:
            read = await asyncio.to_thread(load)
        except ConfigErrors as error:
            raise ReadFailed([str(problem) for problem in error.problems]) from error
        for content in contents_of(read):
            yield dump(content)

    return read


def rules_of(policy: Here) -> list[str]:
    """Their names, without their files."""
    return [candidate.ref.name.partition("#")[2] for candidate in policy.serving.rules.candidates]
