"""Installs nothing: `python apt.py ORIGIN PROXY FOLDER` downloads the package `hello` and prints the file in it.

apt gets a root of its own in FOLDER, and reads nothing of the machine's configuration, lists or state.
"""

import os
import subprocess
import sys
from pathlib import Path

_CONFIGURATION = """\
Dir "{root}";
Dir::Bin::methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
Acquire::http::Proxy "{proxy}";
Acquire::Retries "0";
Acquire::Languages "none";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
"""


def make_root(root: Path, origin: str, proxy: str) -> Path:
    """All that apt looks for. The path of the configuration."""
    for folder in (
        "etc/apt/sources.list.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {origin}/apt ./\n")
    configuration = root / "apt.conf"
    configuration.write_text(_CONFIGURATION.format(root=root, proxy=proxy))
    return configuration


def main(origin: str, proxy: str, folder: Path) -> int:
    """The exit status."""
    configuration = make_root(folder / "root", origin, proxy)
    environ = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
    for command in (["apt-get", "--quiet", "update"], ["apt-get", "--quiet", "download", "hello"]):
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            return 1
    [package] = folder.glob("hello_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder / "extracted"], check=True)
    sys.stdout.write((folder / "extracted" / "hello.txt").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
