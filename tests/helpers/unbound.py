"""A real name server inside TLS: unbound from the distribution, with a configuration of its own on free ports.

with Unbound(folder, certificate, key, {"x.test": "127.0.0.1"}) as unbound:
    ...                              # DoT on unbound.dot_port, DoH on unbound.doh_port, both on 127.0.0.1
    unbound.kill()                   # SIGKILL: its connections are reset
    unbound.start()                  # the same again
    unbound.questions("x.test")      # how often it was asked for A and AAAA of that name
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil

from tests.helpers.ports import free_port
from tests.helpers.requirements import require

SECONDS = 60.0


class Unbound:
    """Authoritative for what it is given, recursive for nothing."""

    def __init__(self, folder: Path, certificate: Path, key: Path, names: Mapping[str, str]) -> None:
        self._program = require("unbound")
        self.dot_port, self.doh_port = free_port(), free_port()
        self._log = folder / "unbound.log"
        self._configuration = folder / "unbound.conf"
        self._configuration.write_text(
            "server:\n"
            + "".join(f"  {key}: {value}\n" for key, value in self._settings(folder, certificate, key))
            + "".join(f'  local-data: "{name}. 60 IN A {address}"\n' for name, address in names.items())
            + "remote-control:\n  control-enable: no\n"
        )

    def _settings(self, folder: Path, certificate: Path, key: Path) -> list[tuple[str, object]]:
        return [
            ("interface", f"127.0.0.1@{self.dot_port}"),
            ("interface", f"127.0.0.1@{self.doh_port}"),
            ("tls-port", self.dot_port),
            ("https-port", self.doh_port),
            ("tls-service-pem", f'"{certificate}"'),
            ("tls-service-key", f'"{key}"'),
            ("access-control", "127.0.0.0/8 allow"),
            ("local-zone", "test. static"),
            ("module-config", "iterator"),
            ("directory", f'"{folder}"'),
            ("logfile", f'"{self._log}"'),
            ("log-queries", "yes"),
            ("use-syslog", "no"),
            ("chroot", '""'),
            ("username", '""'),
            ("pidfile", '""'),
            ("num-threads", 1),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it listens."""
        command = [self._program, "-d", "-p", "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + SECONDS
        while not (_listens(self.dot_port) and _listens(self.doh_port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"unbound did not start: {self._said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        _, self._said = self._process.communicate()

    def questions(self, name: str) -> int:
        """That it received since the first start."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return sum(f" {name}. " in line and line.endswith((" A IN", " AAAA IN")) for line in lines)

    def connections(self, port: int) -> int:
        """How many are open to one of its ports now."""
        listed = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in listed)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
