"""Files, ports and programs of one run: two authorities, and nginx as the origin."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.isolation import Unusable
from gateway.intercept.authority import create_authority, read_authority
from gateway.model.names import HostName

NAME = "origin.test"
START_SECONDS = 60.0
LAST_BYTES = 2000

_NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.errors; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port} ssl {http2}; ssl_certificate {certificate}; ssl_certificate_key {key};
        location / {{ default_type text/plain; return 200 "hello\\n"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Bed:
    """Files and ports of one run."""

    folder: Path
    origin: int
    ca: Path
    key: Path
    origins: Path


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A program that listens on `port` when it is ready; its process id. Raises `Unusable` with what it said last."""
    with tempfile.TemporaryFile() as said, _started(command, said) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unusable(f"{command[0]} did not start: {_last_of(said)}")
            time.sleep(0.05)
        yield process.pid


@contextmanager
def _started(command: list[str], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """What it says goes to a file: nobody reads a pipe while it runs."""
    process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _last_of(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - LAST_BYTES))
    return said.read().decode(errors="replace").strip() or "it said nothing"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def program(name: str) -> str:
    """Where it is. Raises `Unusable`."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Unusable(f"{name} is missing")
    return path


def make_bed(folder: Path) -> Bed:
    """Both authorities, and the origin's certificate."""
    now, bed = time.time(), Bed(folder, free_port(), folder / "ca.crt", folder / "ca.key", folder / "origins.crt")
    for certificate, key, name in ((bed.ca, bed.key, "proxies"), (bed.origins, folder / "origins.key", "origins")):
        made, secret = create_authority(name, now)
        certificate.write_bytes(made)
        key.write_bytes(secret)
        key.chmod(0o600)
    leaf = read_authority(bed.origins.read_bytes(), (folder / "origins.key").read_bytes(), now).mint(
        HostName(NAME), now, 86400
    )
    (folder / "origin.crt").write_bytes(leaf.chain)
    (folder / "origin.key").write_bytes(leaf.key)
    return bed


def nginx_command(bed: Bed, http2: bool = False) -> list[str]:
    """The origin's, whose configuration is written here."""
    configuration, folder = bed.folder / "nginx.conf", bed.folder
    files = {"certificate": folder / "origin.crt", "key": folder / "origin.key"}
    configuration.write_text(
        _NGINX.format(folder=folder, port=bed.origin, user="user root;", http2="http2" if http2 else "", **files)
    )
    return [program("nginx"), "-c", str(configuration), "-e", str(folder / "nginx.errors")]
