"""Two pods, a gateway and a world: network namespaces joined by wires, both IP versions, nothing else anywhere.

    pod1 --- in1  gateway  out --- wire  world
    pod2 --- in2

A thread that is inside a namespace makes sockets and processes there; they stay there when it has left.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.requirements import require, require_root

CLONE_NEWNET = 0x40000000

POD1 = ("10.77.1.2", "2001:db8:77:1::2")
POD2 = ("10.77.2.2", "2001:db8:77:2::2")
GATEWAY = ("203.0.113.1", "2001:db8:113::1")
SOURCES = ("203.0.113.101", "203.0.113.102")
"""Further addresses of the gateway, to leave from."""
HOME = ("203.0.113.10", "2001:db8:113::10")
"""Where the names of the test resolve to."""
ELSEWHERE = ("203.0.113.66", "2001:db8:113::66")
"""Somebody else's place in the world."""
NAME_SERVER = "203.0.113.53"

_COUNTERS = """
table inet seen {
    chain input {
        type filter hook input priority 0; policy accept;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return
        tcp flags & (syn | ack) == syn counter name syn
        meta l4proto { tcp, udp } th dport 53 counter name dns
        meta l4proto { icmp, icmpv6, udp } th dport != 53 counter name other
        icmp type echo-request counter name other
    }
    counter syn { }
    counter dns { }
    counter other { }
}
"""


@dataclass(frozen=True)
class Namespace:
    """One machine of the lab."""

    name: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and the threads that it starts, are inside while the block runs."""
        with open("/proc/thread-self/ns/net") as outside:  # noqa: PTH123 - a descriptor is wanted, not its content
            _setns(f"/run/netns/{self.name}")
            try:
                yield
            finally:
                _setns_fd(outside.fileno())

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that is to run here."""
        return [require("nsenter"), f"--net=/run/netns/{self.name}"]

    def run(self, *command: str, text: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        done = subprocess.run([*self.prefix, *command], input=text, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done

    def set_sysctl(self, name: str, value: object) -> None:
        """`name` with slashes, below /proc/sys/net."""
        with self.entered():
            Path("/proc/sys/net", name).write_text(str(value))

    def counters(self, *names: str, table: str = "seen") -> list[int]:
        """Packets that named nftables counters have counted."""
        counts = []
        for name in names:
            words = self.run("nft", "list", "counter", "inet", table, name).stdout.split()
            counts.append(int(words[words.index("packets") + 1]))
        return counts


def _setns(path: str) -> None:
    with open(path) as namespace:  # noqa: PTH123 - a descriptor is wanted, not its content
        _setns_fd(namespace.fileno())


def _setns_fd(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Network:
    """The machines. `world` counts SYNs, DNS queries and what else comes in."""

    pod1: Namespace
    pod2: Namespace
    gateway: Namespace
    world: Namespace


@contextmanager
def network() -> Iterator[Network]:
    """Needs root. Everything is gone with the block."""
    require_root()
    require("nft")
    require("ip")
    with ExitStack() as stack:
        pod1, pod2, gateway, world = (
            stack.enter_context(_namespace(name)) for name in ("pod1", "pod2", "gateway", "world")
        )
        _join(pod1, "eth0", POD1, gateway, "in1", ("10.77.1.1", "2001:db8:77:1::1"))
        _join(pod2, "eth0", POD2, gateway, "in2", ("10.77.2.1", "2001:db8:77:2::1"))
        _join(world, "wire", HOME, gateway, "out", GATEWAY)
        for address in (*ELSEWHERE, NAME_SERVER):
            _add_address(world, "wire", address)
        for address in SOURCES:
            _add_address(gateway, "out", address)
        for pod, number in ((pod1, 1), (pod2, 2)):
            _route(pod, ("default",), f"10.77.{number}.1")
            _route(pod, ("-6", "default"), f"2001:db8:77:{number}::1")
        _route(world, ("10.77.0.0/16",), GATEWAY[0])
        _route(world, ("-6", "2001:db8:77::/48"), GATEWAY[1])
        gateway.set_sysctl("ipv4/ip_forward", 1)
        gateway.set_sysctl("ipv6/conf/all/forwarding", 1)
        world.run("nft", "-f", "-", text=_COUNTERS)
        yield Network(pod1, pod2, gateway, world)


@contextmanager
def _namespace(name: str) -> Iterator[Namespace]:
    full = f"egress-{os.getpid()}-{name}"
    _ip("netns", "add", full)
    try:
        namespace = Namespace(full)
        namespace.run("ip", "link", "set", "lo", "up")
        yield namespace
    finally:
        _ip("netns", "del", full)


def _join(
    one: Namespace, interface: str, here: Sequence[str], other: Namespace, other_interface: str, there: Sequence[str]
) -> None:
    _ip("link", "add", interface, "netns", one.name, "type", "veth", "peer", other_interface, "netns", other.name)
    for namespace, name, addresses in ((one, interface, here), (other, other_interface, there)):
        for address in addresses:
            _add_address(namespace, name, address)
        namespace.run("ip", "link", "set", name, "up")


def _add_address(namespace: Namespace, interface: str, address: str) -> None:
    if ":" in address:
        namespace.run("ip", "address", "add", f"{address}/64", "dev", interface, "nodad")
    else:
        namespace.run("ip", "address", "add", f"{address}/24", "dev", interface)


def _route(namespace: Namespace, destination: Sequence[str], via: str) -> None:
    family = [word for word in destination if word.startswith("-")]
    words = [word for word in destination if not word.startswith("-")]
    namespace.run("ip", *family, "route", "add", *words, "via", via)


def _ip(*arguments: str) -> None:
    done = subprocess.run([require("ip"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
