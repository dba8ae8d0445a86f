"""A Debian package repository of one package, flat and unsigned."""

import hashlib
import subprocess
from pathlib import Path

from tests.helpers.requirements import require

_CONTROL = """\
Package: hello
Version: 1.0
Architecture: all
Maintainer: tests <tests@example.test>
Description: holds one file
"""


def make_apt_repository(folder: Path, work: Path, content: str) -> None:
    """Write the package, which holds `hello.txt` with `content`, and its index into `folder`."""
    (work / "DEBIAN").mkdir(parents=True)
    (work / "DEBIAN" / "control").write_text(_CONTROL)
    (work / "hello.txt").write_text(content)
    folder.mkdir()
    package = folder / "hello_1.0_all.deb"
    subprocess.run(
        [require("dpkg-deb"), "--root-owner-group", "--build", work, package], check=True, capture_output=True
    )
    data = package.read_bytes()
    index = f"{_CONTROL}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (folder / "Packages").write_text(index)
