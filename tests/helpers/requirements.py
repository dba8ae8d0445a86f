"""What a test needs from the machine: skipped where it is missing, but in continuous integration a failure."""

import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """The path of `program`; without it the test fails if `CI` is set, and is skipped elsewhere."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        unavailable(f"the program {program} is not on the PATH; .ci/setup test says how to install it")
    return path


def require_root() -> None:
    """For tests that drop to another user or make a namespace."""
    if os.geteuid() != 0:
        unavailable("needs root")


def unavailable(what_is_missing: str) -> NoReturn:
    """End the test: it cannot run here."""
    if os.environ.get("CI"):
        pytest.fail(what_is_missing)
    pytest.skip(what_is_missing)
