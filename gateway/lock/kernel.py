"""Applies steps to the kernel, with the programs `nft` and `ip`."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gateway.lock.steps import Step

_BESIDES_PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
_PACKAGES = {"nft": "nftables", "ip": "iproute2"}
_NOT_PERMITTED = "Operation not permitted"
_SECONDS = 30
_LINES_SHOWN = 4


class KernelRefused(Exception):
    """The kernel refused, or the program that talks to it failed; the text says why."""


def run(steps: Sequence[Step]) -> None:
    """Run them in order, up to the first that fails; none before all programs are found. Raises `KernelRefused`."""
    programs = {name: _find(name) for name in dict.fromkeys(step.command[0] for step in steps)}
    for step in steps:
        if not step.unless_off or _holds_0(step.unless_off):
            _run(programs[step.command[0]], step)


def _holds_0(file: str) -> bool:
    try:
        return Path(file).read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def _find(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=_BESIDES_PATH)
    if path is None:
        raise KernelRefused(f"the program {name} is missing: install the package {_PACKAGES[name]}")
    return path


def _run(program: str, step: Step) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours, and the program is one of two
            [program, *step.command[1:]],
            input=step.text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise KernelRefused(f"{step.command[0]} did not end within {_SECONDS} s") from error
    if done.returncode == 0:
        return
    if _NOT_PERMITTED in done.stderr:
        raise KernelRefused(
            f"{step.command[0]} is not permitted to do this: it needs root, or CAP_NET_ADMIN in the network namespace"
        )
    if not step.removes:
        said = "\n".join(done.stderr.strip().splitlines()[:_LINES_SHOWN])
        raise KernelRefused(f"{' '.join(step.command)} failed: {said or 'without a message'}")
