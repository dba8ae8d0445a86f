"""What the suite puts behind a proxy: a name server and destinations on loopback, which remember what reached them."""

import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.abuse.complaint import Complaint, unhealthy
from tests.abuse.inspected.origin import InspectedOrigin
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer
from tests.helpers.origins import Origin, echo
from tests.helpers.ports import free_port
from tests.helpers.recording_origin import RecordingOrigin

NAMES = (
    "allowed.test",
    "other.test",
    "users.test",
    "denied.test",
    "forbidden.test",
    "ordinary.test",
    "inspected.test",
    "a.wild.test",
    "deny.wild.test",
    "wild.test",
    "evilwild.test",
)
INTERNAL = "127.0.0.2"
SLOWEST = 5.0
"""Seconds that an ordinary tunnel may take, on a busy machine."""
HELLO = build_client_hello("ordinary.test")


@dataclass(frozen=True)
class Mark:
    """How much had arrived when it was set."""

    visits: tuple[int, ...]
    queries: int


class World:
    """`allowed.test` and the others of `NAMES` lead to 127.0.0.1, where `web` speaks HTTP, `tls` echoes what it reads,
    and so does `plain`, which only ordinary tunnels reach. `internal` are the same ports of 127.0.0.2, which plays an
    internal address. `inspected` is for proxies that end TLS and trust `authority`, which is kept in the folder
    `certificates` or made anew. 0 is any free port.
    """

    def __init__(
        self,
        web: int = 0,
        tls: int = 0,
        ordinary: int = 0,
        dns: tuple[str, int] = ("127.0.0.1", 0),
        inspected: int = 0,
        certificates: Path | None = None,
    ) -> None:
        self._stack = ExitStack()
        folder = certificates or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="abuse-")))
        self.dns = self._stack.enter_context(DnsServer(*dns))
        self.web = self._stack.enter_context(RecordingOrigin(port=web or free_port(INTERNAL)))
        self.tls = self._stack.enter_context(Origin(echo, port=tls or free_port(INTERNAL)))
        self.plain = self._stack.enter_context(Origin(echo, port=ordinary))
        self.inspected = self._stack.enter_context(InspectedOrigin(folder, inspected))
        self.internal = [self._stack.enter_context(Origin(echo, INTERNAL, each.port)) for each in (self.web, self.tls)]
        for name in NAMES:
            self.dns.answer(name, "127.0.0.1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def authority(self) -> Path:
        """A PEM file: who signed the certificate of `inspected`."""
        return self.inspected.authority

    @property
    def _forbidden(self) -> Sequence[Origin]:
        return (self.web, self.tls, *self.internal)

    def mark(self) -> Mark:
        """To compare with later."""
        return Mark(tuple(origin.settled() for origin in self._forbidden), len(self.dns.queries))

    def left_since(self, mark: Mark, may_ask: bool) -> list[str]:
        """Every connection that was made, and, unless one `may_ask`, every name that was asked for."""
        names = ["web", "tls", "internal web", "internal tls"]
        found = [
            f"a connection to {name}"
            for name, origin, before in zip(names, self._forbidden, mark.visits, strict=True)
            if origin.settled() > before and not (may_ask and not name.startswith("internal"))
        ]
        asked = {query.name for query in self.dns.queries[mark.queries :]} - {"ordinary.test"}
        return [*found, *([] if may_ask else [f"a question for {name}" for name in sorted(asked)])]

    def read_since(self, mark: Mark) -> list[str]:
        """Every byte that a destination has read."""
        fresh = [origin.visits[before:] for origin, before in zip(self._forbidden, mark.visits, strict=True)]
        read = [bytes(visit.received) for visits in fresh for visit in visits if visit.received]
        return [f"the destination read {data[:40]!r}" for data in read]

    def tls_read_since(self, mark: Mark) -> bytes:
        """All that `tls` has read."""
        return b"".join(bytes(visit.received) for visit in self.tls.visits[mark.visits[1] :])

    def ordinary(self, proxy: tuple[str, int], patience: float) -> list[Complaint]:
        """After every case, and while some go on: a tunnel that anybody may have works."""
        began = time.monotonic()
        try:
            with socket.create_connection(proxy, timeout=patience) as client:
                authority = f"ordinary.test:{self.plain.port}"
                client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
                head = b""
                while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                    head += data
                client.sendall(HELLO)
                echoed = head.partition(b"\r\n\r\n")[2]
                while len(echoed) < len(HELLO) and (data := client.recv(4096)):
                    echoed += data
        except OSError as error:
            return [unhealthy(f"an ordinary tunnel fails: {error!r}")]
        if echoed != HELLO:
            return [unhealthy(f"an ordinary tunnel does not pass: {head[:60]!r}")]
        took = time.monotonic() - began
        return [unhealthy(f"an ordinary tunnel took {took:.1f} s")] if took > SLOWEST else []
