"""What this machine's files say about names: entries of `/etc/hosts`, name servers of `/etc/resolv.conf`.

A changed file is read again; it is checked at most once a second. `search`, `domain` and `options` are ignored: every
name that the gateway resolves is absolute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from gateway.model.addresses import Address, parse_address
from gateway.model.names import HostName, parse_host_name

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
LOOK_EVERY_SECONDS = 1.0

T = TypeVar("T")
Hosts = dict[HostName, tuple[Address, ...]]
Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where to ask."""

    address: Address
    port: int = 53

    def __str__(self) -> str:
        return f"{self.address.uri_host}:{self.port}"


LOCAL = Address(4, 0x7F000001)


class WatchedFile(Generic[T]):
    """A small file and its parsed contents. A missing file counts as empty; one that cannot be read keeps its last
    contents. `now` is a monotonic instant in seconds."""

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._meaning = parse("")
        self._signature: Signature | None = None
        self._look_at = float("-inf")

    def read(self, now: float) -> T:
        """The parsed contents; a change shows after a second at most."""
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_SECONDS
            self._look()
        return self._meaning

    def _look(self) -> None:
        try:
            signature = _signature(self._path)
            if signature != self._signature:
                text = "" if signature is None else self._path.read_text(encoding="utf-8", errors="replace")
                self._meaning, self._signature = self._parse(text), signature
        except OSError:
            return  # it vanished between the two calls, or may not be read: checked again next time


def _signature(path: Path) -> Signature | None:
    """What differs when the file differs; None while there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def hosts_file(path: Path = HOSTS) -> WatchedFile[Hosts]:
    """The hosts file (hosts(5))."""
    return WatchedFile(path, parse_hosts)


class NameServers:
    """The configured name servers in their order. Each `system` stands for those that resolv.conf lists at the time,
    which are asked on `system_port`, as that file names no ports."""

    def __init__(
        self,
        configured: Sequence[NameServer | Literal["system"]],
        resolv_conf: Path = RESOLV_CONF,
        system_port: int = 53,
    ) -> None:
        self._configured = tuple(configured)
        self._system = WatchedFile(resolv_conf, lambda text: parse_resolv_conf(text, system_port))

    def current(self, now: float) -> tuple[NameServer, ...]:
        """Without duplicates."""
        servers: dict[NameServer, None] = {}
        for entry in self._configured:
            servers.update(dict.fromkeys(self._system.read(now) if entry == "system" else (entry,)))
        return tuple(servers)


def parse_hosts(text: str) -> Hosts:
    """Every name with its addresses in file order. Lines and names that are malformed, as a zoned address is, are
    left out, as the C library does."""
    found: dict[HostName, dict[Address, None]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        address = parse_address(fields[0]) if fields else None
        if address is None:
            continue
        for name in filter(None, map(parse_host_name, fields[1:])):
            found.setdefault(name, {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}


def parse_resolv_conf(text: str, port: int = 53) -> tuple[NameServer, ...]:
    """The `nameserver` lines in order; a file with none means the server on this machine (resolv.conf(5))."""
    servers = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", literal, *_]:
                address = parse_address(literal)
                if address is not None:
                    servers.append(NameServer(address, port))
    return tuple(servers) or (NameServer(LOCAL, port),)
