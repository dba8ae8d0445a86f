"""What the client matrix has besides where TLS is inspected: npm, a WebSocket, and nginx as the destination."""

import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from asyncio import AbstractEventLoop, new_event_loop, run_coroutine_threadsafe
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web

from tests.clients.matrix import CLIENTS, HERE, SECONDS, ClientProgram, Errand, Task, said
from tests.helpers.file_origin import HELLO
from tests.helpers.requirements import require


def _npm(task: Task) -> Errand:
    return [
        require("npm"), "pack", "hello", f"--registry={task.origin}/npm/", f"--https-proxy={task.proxy}",
        f"--cafile={task.ca_file}", "--fetch-retries=0", "--no-update-notifier", "--loglevel=http",
    ], {"NODE_EXTRA_CA_CERTS": str(task.ca_file)}  # fmt: skip


def _unpacked(task: Task) -> str:
    with tarfile.open(task.folder / "hello-1.0.0.tgz") as archive:
        member = archive.extractfile("package/hello.txt")
        return member.read().decode() if member is not None else ""


def _websocket(task: Task) -> Errand:
    url = f"{task.origin}/socket".replace("https://", "wss://")
    return [sys.executable, HERE / "client.py", "websocket", url, task.ca_file], {"HTTPS_PROXY": task.proxy}


NPM = ClientProgram("npm pack", said(lambda: [require("npm"), "--version"]), _npm, lambda task, _: _unpacked(task))
WEBSOCKET = ClientProgram(
    "aiohttp WebSocket",
    said(lambda: [sys.executable, "-c", "import importlib.metadata as m; print(m.version('aiohttp'))"]),
    _websocket,
)
INSPECTED_CLIENTS = (*CLIENTS, NPM)


def make_npm_registry(site: Path, origin: str) -> None:
    """A package `hello` under `npm/`."""
    (site / "npm").mkdir()
    manifest = json.dumps({"name": "hello", "version": "1.0.0"}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in (("package.json", manifest), ("hello.txt", HELLO.encode())):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (site / "npm" / "hello-1.0.0.tgz").write_bytes(packed.getvalue())
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
    dist = {"tarball": f"{origin}/npm/hello-1.0.0.tgz", "integrity": integrity}
    version = {"name": "hello", "version": "1.0.0", "dist": dist}
    package = {"name": "hello", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    (site / "npm" / "hello").write_text(json.dumps(package))


class Nginx:
    """Serves `site` over HTTPS, with its own configuration. What is put under `put/` is written there."""

    def __init__(
        self,
        folder: Path,
        site: Path,
        certificate: Path,
        key: Path,
        port: int,
        address: str = "127.0.0.1",
        http2: bool = False,
    ) -> None:
        self.port = port
        self._address = address
        self._knocks = 0
        self._folder = folder
        self._log = folder / "nginx.log"
        user = "user root;" if os.geteuid() == 0 else ""  # the test's folder is its own
        temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)
        (folder / "nginx.conf").write_text(
            f"""daemon off; {user} pid {folder}/nginx.pid; error_log {folder}/nginx.errors; worker_processes 1;
            events {{ worker_connections 64; }}
            http {{
                log_format short '$host $request_method $uri $status $server_protocol';
                access_log {self._log} short; {temporary}
                default_type application/octet-stream; index index.html;
                types {{ text/html html; text/plain txt; }}
                server {{
                    listen {address}:{port} ssl {"http2" if http2 else ""}; root {site};
                    ssl_certificate {certificate}; ssl_certificate_key {key};
                    location /put/ {{ dav_methods PUT; client_max_body_size 0; }}
                    location /npm/ {{ default_type application/json; }}
                }}
            }}"""
        )

    @property
    def requests(self) -> list[str]:
        """The lines of its log, of all that were answered by now. A line is written after its answer was sent: when
        that of a request of our own is there, those of all before it are."""
        self._knocks += 1
        own = f" /knock/{self._knocks} "
        blind = SSLContext(PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, CERT_NONE
        with self._connection() as plain, blind.wrap_socket(plain) as secure:
            secure.sendall(f"GET{own}HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            while secure.recv(65536):
                pass
        deadline = time.monotonic() + SECONDS
        while own not in (written := self._log.read_text()):
            assert time.monotonic() < deadline, "nginx writes no log"
            time.sleep(0.005)
        return [line for line in written.splitlines() if " /knock/" not in line]

    def _connection(self) -> socket.socket:
        return socket.create_connection((self._address, self.port), SECONDS)

    def __enter__(self) -> Self:
        command = [require("nginx"), "-c", str(self._folder / "nginx.conf"), "-e", str(self._folder / "nginx.errors")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self._connection().close()
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise AssertionError((self._folder / "nginx.errors").read_text()) from None
                time.sleep(0.02)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class WebSocketEcho:
    """A WebSocket server inside TLS."""

    def __init__(self, context: SSLContext, address: str = "127.0.0.1") -> None:
        self._context = context
        self._address = address
        self._loop: AbstractEventLoop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner = run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/socket", self._echo)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self._address, 0, ssl_context=self._context)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        self.connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket
