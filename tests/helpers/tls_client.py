"""TLS inside a tunnel, as a client drives it: what it was shown, and what it then sends and gets."""

import contextlib
import socket
import ssl
from pathlib import Path

from tests.helpers.raw_client import SECONDS, RawClient, status_of


def client_context(ca: Path | None, *alpn: str) -> ssl.SSLContext:
    """Believes `ca` alone; None believes nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        context.load_verify_locations(ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class TlsClient(RawClient):
    """A RawClient whose `socket` speaks TLS, through a CONNECT to `authority`. Raises `ssl.SSLError` or `OSError`."""

    tls: ssl.SSLSocket

    def __init__(
        self,
        port: int,
        authority: str,
        context: ssl.SSLContext,
        sni: str | None = None,
        session: ssl.SSLSession | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(port, source=source)
        try:
            assert status_of(self.connect(authority)) == 200
            name = sni or authority.rpartition(":")[0]
            self.socket = self.tls = context.wrap_socket(self.socket, server_hostname=name, session=session)
        except BaseException:
            self.socket.close()
            raise

    def ask(self, host: str, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> None:
        """One request, all of it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
        self.send("\r\n".join(lines).encode() + body)


class HelloInMemory:
    """The first bytes of a handshake, to be sent in one segment with others; the handshake goes on over `socket`."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._step()
        self.hello = self._outgoing.read()

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def finish(self, connection: socket.socket) -> None:
        """The rest of the handshake."""
        connection.settimeout(SECONDS)
        while not self._step():
            connection.sendall(self._outgoing.read())
            self._incoming.write(connection.recv(65536))
        connection.sendall(self._outgoing.read())

    def send(self, connection: socket.socket, data: bytes) -> None:
        """In the clear for the caller."""
        self._tls.write(data)
        connection.sendall(self._outgoing.read())

    def alert_over(self, record: bytes) -> bytes:
        """What it sends if it is given this record, which is invalid."""
        self._incoming.write(record)
        with contextlib.suppress(ssl.SSLError):
            while True:
                self._tls.read(65536)
        return self._outgoing.read()

    def read_until(self, connection: socket.socket, mark: bytes) -> bytes:
        """Up to and including `mark`, or what came before the end."""
        data = b""
        while mark not in data:
            try:
                data += self._tls.read(65536)
            except ssl.SSLWantReadError:
                more = connection.recv(65536)
                if not more:
                    break
                self._incoming.write(more)
        return data
