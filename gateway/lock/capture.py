"""What to capture, and where: plain values, from which `ruleset` and `steps` make the kernel's rules."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.model.addresses import Network

TABLE = "egress_gateway"
"""Our only nftables table (family inet). Nothing outside of it is read or changed."""
MARK = 0x1000
ROUTING_TABLE = 17017
"""The number of our routing table, and the preference of the rule that leads to it."""


class Place(StrEnum):
    """Where the rules are and how they hand connections over. `redirect` and `tproxy` are for a machine that routes for
    others, `pod` for the network namespace of the workload itself."""

    REDIRECT = "redirect"
    TPROXY = "tproxy"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Capture:
    """`port` is the transparent listener's. `interfaces` are those behind which the clients are; a pod has none, but
    `uid`, the gateway's own user. `passed` are networks that are reached without the gateway. `mark` is one bit of the
    packet mark with `tproxy`, of the connection mark in a pod."""

    place: Place
    port: int
    interfaces: tuple[str, ...] = ()
    uid: int | None = None
    passed: tuple[Network, ...] = ()
    mark: int = MARK
