"""A real redis-server on a free port, with a directory of its own: killed, stopped, slow or empty as a test likes."""

import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.helpers.ports import held_port, port_of
from tests.helpers.requirements import require

START_SECONDS = 60.0


class RedisServer:
    """A context manager. `options` are those of its command line. `tls`: nothing else is spoken."""

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        require("redis-server")
        self.port = 0
        self._folder = folder
        self._options = options
        self._address = ["--port", "0", "--tls-port"] if tls else ["--port"]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._held = held_port()
        self.port = port_of(self._held)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on()
        self.kill()
        self._held.close()

    def start(self) -> None:
        """Empty, and ready to answer."""
        address = [*self._address, str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            ["redis-server", *address, "--save", "", "--appendonly", "no", *self._options],
            stdout=subprocess.DEVNULL,
        )
        wait_for_port(self.port)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """It answers nobody, and nobody is told."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def wait_for_port(port: int) -> None:
    """Until somebody accepts there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)
        else:
            return
