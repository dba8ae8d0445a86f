"""What the tests of this room build their subjects from."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.model.addresses import Address, parse_address
from gateway.model.names import HostName
from gateway.net.dns.lookup import Attempt
from gateway.net.dns.plain import PlainDns
from gateway.net.dns.transport import DnsTransport
from gateway.net.names import NameServer, NameServers, hosts_file
from gateway.net.resolver import Resolver, ResolverOptions
from gateway.serve.deadlines import DeadlineWheel
from tests.helpers.dns_server import DnsServer


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(address_of(text) for text in texts)


def address_of(text: str) -> Address:
    address = parse_address(text)
    assert address is not None, text
    return address


def server_of(dns: DnsServer) -> NameServer:
    return NameServer(address_of(dns.address), dns.port)


def name(text: str) -> HostName:
    return HostName(text)


def build_resolver(
    *servers: DnsServer | NameServer,
    options: ResolverOptions | None = None,
    clock: ManualClock | None = None,
    hosts: Path = Path("/nonexistent"),
    transport: DnsTransport | None = None,
    witness: Callable[[Attempt], None] = lambda _: None,
) -> Resolver:
    """A real resolver that asks these servers."""
    asked: Sequence[NameServer] = [server_of(one) if isinstance(one, DnsServer) else one for one in servers]
    return Resolver(
        NameServers(asked),
        hosts_file(hosts),
        transport or PlainDns(),
        options or ResolverOptions(timeout=0.2),
        clock or ManualClock(),
        build_deadlines(),
        witness=witness,
    )


def build_deadlines() -> DeadlineWheel:
    return DeadlineWheel(asyncio.get_running_loop(), tick=0.01)


def open_sockets() -> int:
    """Of this process. The loop opens other descriptors for itself when it first needs them."""
    return sum(_is_socket(entry) for entry in Path("/proc/self/fd").iterdir())


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except FileNotFoundError:  # the one that lists the folder
        return False
