"""An origin that serves what the client matrix fetches: a file, a git repository, packages of Python and Debian."""

import functools
import http.server
import ssl
import subprocess
import threading
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.helpers.apt_repository import make_apt_repository
from tests.helpers.requirements import require

HELLO = "hello from the origin\n"


def make_site(folder: Path) -> None:
    """Write `hello.txt`, and what holds it: `repository.git`, `simple/hello/` with a wheel, `apt/` with a package."""
    folder.mkdir()
    (folder / "hello.txt").write_text(HELLO)
    _make_repository(folder / "work", folder / "repository.git")
    _make_index(folder / "simple" / "hello")
    make_apt_repository(folder / "apt", folder.parent / "package", HELLO)


def _make_repository(work: Path, bare: Path) -> None:
    git = [require("git"), "-c", "user.name=tests", "-c", "user.email=tests@example.test", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet", work], check=True)
    (work / "hello.txt").write_text(HELLO)
    subprocess.run([*git, "-C", work, "add", "."], check=True)
    subprocess.run([*git, "-C", work, "commit", "--quiet", "-m", "hello"], check=True)
    subprocess.run([*git, "clone", "--quiet", "--bare", work, bare], check=True)
    subprocess.run([*git, "-C", bare, "update-server-info"], check=True)


def _make_index(folder: Path) -> None:
    folder.mkdir(parents=True)
    wheel = "hello-1.0-py3-none-any.whl"
    info = "hello-1.0.dist-info"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        archive.writestr("hello.txt", HELLO)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel}">{wheel}</a>')


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class named it
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def process_request(self, request: object, client_address: object) -> None:
        self.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]  # passed on as they came

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle of a handshake is no fault of the test."""


class FileOrigin:
    """Serves `folder` on `address`, over HTTPS if there is a `context`; `connections` counts accepts."""

    def __init__(self, folder: Path, context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        handler = functools.partial(_Handler, directory=str(folder))
        self._server = _Server((address, 0), handler)
        if (
            context is not None
        ):  # the handshake happens at the first read, in the connection's own thread, not in accept
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return self._server.connections

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
