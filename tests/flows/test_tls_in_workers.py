"""TLS listeners of a gateway with workers: each shows the newest certificate, and none ever speaks without TLS."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.certificates import Authority, client_context, pem
from tests.helpers.gateway import GatewayProcess
from tests.helpers.raw_client import RawClient

SECONDS = 60.0
CROWD = 32
"""Connections that the kernel spreads over two workers: that all fall to one happens once in 2 ** 31 runs."""


class Bed:
    """A gateway with two workers and one TLS listener."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = Authority("servers")
        self.new_certificate()
        self.gateway = GatewayProcess(folder, {"rules": []}, self.settings())

    def settings(self, **listener: object) -> dict[str, object]:
        tls = {"tls": {"cert": "gateway.crt", "key": "gateway.key"}, **listener}
        return {"workers": 2, "listeners": [{"name": "proxy", "bind": "127.0.0.1:0", **tls}]}

    def new_certificate(self) -> bytes:
        """In the files; as DER."""
        issued = self.servers.server("localhost")
        issued.write(self.folder, "gateway")
        return ssl.PEM_cert_to_DER_cert(pem(issued.certificate).decode())

    def workers(self) -> list[psutil.Process]:
        return [each for each in psutil.Process(self.gateway.process.pid).children() if _serves(each)]

    def shown(self) -> set[bytes]:
        """The certificates that a crowd sees, some of it at each worker."""
        context, seen = client_context(self.servers), set()
        with contextlib.ExitStack() as clients:
            for _ in range(CROWD):
                client = clients.enter_context(RawClient(self.gateway.port))
                client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
                seen.add(client.socket.getpeercert(binary_form=True) or b"")
            assert sum(_connections(worker) > 0 for worker in self.workers()) == 2
        return seen


def _serves(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # who reads files ends while it is looked at
        return process.status() != psutil.STATUS_ZOMBIE and "gateway.app.workers.worker" in process.cmdline()
    return False


def _connections(worker: psutil.Process) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp"))


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    with made.gateway:
        yield made


def test_a_new_certificate_reaches_every_worker(bed: Bed) -> None:
    [before] = bed.shown()
    newer = bed.new_certificate()
    bed.gateway.wait_for_line("policy generation 2 is in force")
    assert bed.shown() == {newer} != {before}


def test_a_replacement_keeps_the_tls_of_listeners_whose_change_waits_for_a_restart(bed: Bed) -> None:
    [before] = bed.shown()
    bed.gateway.write_settings(bed.settings(tls=None))
    bed.gateway.wait_for_line("listeners changed: it takes effect at the next start")
    bed.new_certificate()  # waits as well
    [victim, _] = bed.workers()
    victim.kill()
    bed.gateway.wait_for_line(f"pid {victim.pid}")
    deadline = time.monotonic() + SECONDS
    while bed.gateway.metric("egress_workers") != 2:
        assert time.monotonic() < deadline, "there is no replacement"
        time.sleep(0.05)
    assert bed.shown() == {before}
