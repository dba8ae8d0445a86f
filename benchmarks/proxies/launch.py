"""How a proxy is started: what the rooms of the peers give, and what `running` takes."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import layout
from benchmarks.isolation import Unusable

DESCRIPTORS = 20_000
PACKAGES = layout.HERE.parent / "build" / "bench-peers"
"""Where `.ci/setup bench` puts the peers that come as Python packages."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a proxy. `log` is where it records connections; `is_gateway`: it says when it is ready, and counts
    what it has done. `beside` is a program that it needs, whose CPU is not its own; `environ` is set over ours.
    `plain`: it speaks plain HTTP in absolute form; `denies`: it answers 403 to what its list of names has not. A slow
    one does only a `share` of the work."""

    name: str
    command: Sequence[str]
    configuration: Path
    log: Path
    is_gateway: bool = False
    beside: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    plain: bool = True
    denies: bool = True
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy's configuration goes, and its log; and what runs the gateway and other Python programs."""

    configurations: Path
    logs: Path
    python: str = sys.executable
    gateway: Sequence[str] = (sys.executable, "-m", "gateway")

    def write(self, name: str, text: str) -> Path:
        """One configuration file."""
        path = self.configurations / name
        path.write_text(text)
        return path


def program(name: str, package: str) -> str:
    """A program of the system. Raises `Unusable` when it is not there."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise Unusable(f"{name} is missing: apt-get install --no-install-recommends {package}")
    return path


def packaged(path: str) -> str:
    """A program from a Python package. Raises `Unusable` when it is not there."""
    file = PACKAGES / path
    if not file.exists():
        raise Unusable(f"{path} is missing: .ci/setup bench installs it under {PACKAGES}")
    if file.is_file():
        file.chmod(0o755)
    return str(file)
