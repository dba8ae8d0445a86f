"""What the suite must catch: a proxy that serves everybody, as one writes it in an afternoon.

    python -m tests.abuse.open_proxy --port 3129 --dns 127.0.0.1:5300

It says 200 before it dials, asks for a name once to judge it and once more to dial it, believes every spelling of a
host, dials every answer of the name server, passes raw bytes (also those inside TLS, which it ends for a name or two),
shows what it was sent as a page, and waits for ever. It
connects to loopback only: whatever else it is asked for, it says 200 and talks to nobody.
"""

import argparse
import contextlib
import ipaddress
import re
import select
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tests.abuse.inspected.origin import HOST as INSPECTED
from tests.helpers.origins import Origin, Visit
from tests.helpers.tls_origin import Issuer

_TARGET = re.compile(rb"(\S+)[ \t]+(?:[a-z]+:/*)?([^/?# \r\n]*)(\S*)", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OpenProxy:
    """Threads. `port` is the proxy's, `admin_port` that of a page that does what anybody asks."""

    def __init__(self, name_server: tuple[str, int], port: int = 0) -> None:
        self._name_server = name_server
        with tempfile.TemporaryDirectory() as folder:
            self._shows = Issuer(Path(folder)).context(INSPECTED)
        self._shows.set_alpn_protocols(["h2", "http/1.1"])
        self._proxy = Origin(self._forward, port=port)
        self._admin = Origin(_serve_page)
        self.port, self.admin_port = self._proxy.port, self._admin.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy.close()
        self._admin.close()

    def _forward(self, client: socket.socket, visit: Visit) -> None:
        data = b""
        while (end := _END.search(data)) is None:
            more = client.recv(65536)
            if not more:
                return
            data = (data + more).lstrip(b"\r\n")
        head, rest = data[: end.end()], data[end.end() :]
        match = _TARGET.search(head)
        method, authority, path = match.groups() if match else (b"", b"", b"")
        is_tunnel = method.upper() == b"CONNECT"
        if is_tunnel:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        upstream = self._dial(authority, 443 if is_tunnel else 80) if authority else None
        if upstream is not None and is_tunnel and authority.startswith(INSPECTED.encode()):
            self._intercept(client, upstream)
        elif upstream is not None and match is not None:
            with upstream:
                upstream.sendall(rest if is_tunnel else method + b" " + (path or b"/") + data[match.end() :])
                _join(client, upstream)
        elif is_tunnel:
            while client.recv(65536):
                pass
        else:
            _show_page(client, head)

    def _intercept(self, client: socket.socket, upstream: socket.socket) -> None:
        """Between two connections in TLS, byte for byte."""
        with self._shows.wrap_socket(client, server_side=True) as clear:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols([clear.selected_alpn_protocol() or "http/1.1"])
            with context.wrap_socket(upstream, server_hostname=INSPECTED) as inner:
                _join(_Clear(clear), _Clear(inner))

    def _dial(self, authority: bytes, port: int) -> socket.socket | None:
        """None: it is not on loopback, or nobody is there."""
        host, number = _split(authority.rpartition(b"@")[2])
        self._addresses(host)  # judged by one answer, dialled by the next
        for address in self._addresses(host):
            if address.is_loopback:
                with contextlib.suppress(OSError):
                    return socket.create_connection((str(address), number or port))
        return None

    def _addresses(self, host: str) -> list[Address]:
        literal = _literal(host)
        return [literal] if literal is not None else [*self._asked(host, "A"), *self._asked(host, "AAAA")]

    def _asked(self, host: str, kind: str) -> list[Address]:
        try:
            where, port = self._name_server
            answer = dns.query.udp(dns.message.make_query(host, kind), where, timeout=0.3, port=port)
        except (OSError, dns.exception.DNSException, UnicodeError):
            return []
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        found = [record.address for rrset in answer.answer for record in rrset if rrset.rdtype in kinds]
        return [_embedded(ipaddress.ip_address(text)) for text in found]


def _serve_page(client: socket.socket, visit: Visit) -> None:
    _show_page(client, client.recv(65536))


def _show_page(client: socket.socket, head: bytes) -> None:
    content = b"<html><body>You asked: " + unquote_to_bytes(head) + b"</body></html>"
    status = b"404 Not Found" if b"forbidden" in head or b"<" in head else b"200 OK"
    client.sendall(b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (status, len(content)))
    client.sendall(content)


def _split(authority: bytes) -> tuple[str, int]:
    """Generously: escapes are undone, brackets and dots taken off, case is forgotten."""
    text = unquote_to_bytes(authority).decode("utf-8", "replace").partition("\0")[0]
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    digits = re.sub(r"[^0-9]", "", port)[:5]
    return host.strip("[].").lower().replace("\u3002", ".").replace("\u00ad", ""), int(digits or 0) % 65536


def _literal(host: str) -> Address | None:
    """Whatever `inet_aton` takes, too."""
    with contextlib.suppress(OSError, ValueError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    with contextlib.suppress(ValueError):
        return _embedded(ipaddress.ip_address(host.partition("%")[0]))
    return None


def _embedded(address: Address) -> Address:
    """The IPv4 address that somewhere behind a translator would be reached."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            return address.sixtofour
        if int(address) >> 32 in (0xFFFF, 0x64FF9B << 64, 0) and int(address) > 0xFFFF:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class _Clear:
    """What is inside TLS, for two threads: OpenSSL allows one call at a time."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._turn = threading.Lock()
        tls.setblocking(False)

    def recv(self, size: int) -> bytes:
        while True:
            with self._turn, contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return self._tls.recv(size)
            self._wait(select.POLLIN)

    def sendall(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            with self._turn, contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent += self._tls.send(data[sent:])
                continue
            self._wait(select.POLLOUT)

    def shutdown(self, how: int) -> None:
        with self._turn:
            self._tls.shutdown(how)

    def _wait(self, event: int) -> None:
        waiting = select.poll()
        waiting.register(self._tls, event)
        waiting.poll()


_Side = socket.socket | _Clear


def _join(client: _Side, upstream: _Side) -> None:
    back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
    back.start()
    _pump(client, upstream)
    back.join()


def _pump(source: _Side, sink: _Side) -> None:
    with contextlib.suppress(OSError):  # either side may be gone
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main() -> None:
    """Until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.abuse.open_proxy")
    parser.add_argument("--port", type=int, default=3129)
    parser.add_argument("--dns", default="127.0.0.1:5300", help="the name server that it asks")
    asked = parser.parse_args()
    host, _, port = asked.dns.rpartition(":")
    with OpenProxy((host, int(port)), asked.port) as proxy:
        print(f"an open proxy on 127.0.0.1:{proxy.port}, its admin port {proxy.admin_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
