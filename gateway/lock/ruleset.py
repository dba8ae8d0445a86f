"""The nftables ruleset of a capture: one table of our own, replaced as a whole in one transaction.

It does three things. The clients' TCP is handed to the listener, whatever its port. UDP to port 443 is rejected at
once, so that QUIC clients fall back to TCP instead of waiting. Everything else of the clients, and every connection
towards them that they did not begin, is dropped: that is the lock, and for IPv6, which has no NAT to hide behind, it is
what makes a network egress-only.
"""

from collections.abc import Iterator, Sequence

from gateway.lock.capture import TABLE, Capture, Place

DELETE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Removes the table. The first line makes it if there is none, so that removing it is no error."""

_ON_THE_LINK = (
    "nd-router-solicit",
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
    "mld-listener-report",
    "mld2-listener-report",
)
_QUIC = "udp dport 443 counter name quic reject with icmpx port-unreachable"


def build_ruleset(capture: Capture) -> str:
    """Input for `nft -f -`. Applied again it changes nothing but the counters, which begin at zero."""
    chains = {Place.REDIRECT: _redirect, Place.TPROXY: _tproxy, Place.POD: _pod}[capture.place](capture)
    lines = [*_counters(), *_sets(capture), *chains]
    body = "".join(f"\t{line}\n" if line else "\n" for line in lines)
    return f"{DELETE}table inet {TABLE} {{\n{body}}}\n"


def _counters() -> Iterator[str]:
    for name in ("captured", "quic", "locked"):
        yield f"counter {name} {{ }}"


def _sets(capture: Capture) -> Iterator[str]:
    if capture.interfaces:
        listed = ", ".join(f'"{name}"' for name in capture.interfaces)
        yield f"set inside {{ type ifname; elements = {{ {listed} }} }}"
    for version in (4, 6):
        networks = [network for network in capture.passed if network.version == version]
        elements = f" elements = {{ {', '.join(map(str, networks))} }}" if networks else ""
        yield f"set passed{version} {{ type ipv{version}_addr; flags interval; auto-merge;{elements} }}"


def _redirect(capture: Capture) -> Iterator[str]:
    yield from _chain(
        "capture",
        "type nat hook prerouting priority dstnat; policy accept;",
        [
            "iifname != @inside return",
            *_not_captured(),
            f"meta l4proto tcp counter name captured redirect to :{capture.port}",
        ],
    )
    yield from _quic_at_the_door()
    yield from _forward_lock()


def _tproxy(capture: Capture) -> Iterator[str]:
    """Packets of connections that the gateway holds come first: with `source: client` answers arrive from outside.
    `socket wildcard 0` keeps strangers from the listener itself."""
    marked = f"meta mark set meta mark or {capture.mark:#x}"
    yield from _chain(
        "capture",
        "type filter hook prerouting priority mangle; policy accept;",
        [
            f"meta l4proto tcp socket transparent 1 socket wildcard 0 {marked} accept",
            "iifname != @inside return",
            *_not_captured(),
            f"meta l4proto tcp counter name captured tproxy to :{capture.port} {marked} accept",
        ],
    )
    yield from _quic_at_the_door()
    yield from _forward_lock()


def _pod(capture: Capture) -> Iterator[str]:
    """The gateway's connections are marked, because packets that the kernel sends for one of them long after its socket
    was closed belong to no user."""
    yield from _chain(
        "capture",
        "type nat hook output priority -100; policy accept;",
        [
            f"meta skuid {capture.uid} return",
            *_not_captured(),
            f"meta l4proto tcp counter name captured redirect to :{capture.port}",
        ],
    )
    yield from _chain(
        "lock",
        "type filter hook output priority filter; policy accept;",
        [
            f"meta skuid {capture.uid} ct mark set ct mark or {capture.mark:#x} accept",
            f"ct mark and {capture.mark:#x} == {capture.mark:#x} accept",
            "fib daddr type local accept",
            "ct status dnat accept",
            "ct direction reply accept",
            f"icmpv6 type {{ {', '.join(_ON_THE_LINK)} }} accept",
            *_passed("accept"),
            _QUIC,
            "counter name locked drop",
        ],
    )


def _not_captured() -> Iterator[str]:
    """This machine itself, so that its services stay reachable, and networks that are reached without the gateway."""
    yield "fib daddr type local return"
    yield from _passed("return")


def _passed(verdict: str) -> Iterator[str]:
    yield f"ip daddr @passed4 {verdict}"
    yield f"ip6 daddr @passed6 {verdict}"


def _quic_at_the_door() -> Iterator[str]:
    """Before routing, so that it is rejected even if the machine forwards nothing."""
    yield from _chain(
        "quic",
        "type filter hook prerouting priority filter; policy accept;",
        ["iifname != @inside return", *_not_captured(), _QUIC],
    )


def _forward_lock() -> Iterator[str]:
    yield from _chain(
        "lock",
        "type filter hook forward priority filter; policy accept;",
        [
            *(f"iifname @inside {rule}" for rule in _passed("accept")),
            "iifname @inside counter name locked drop",
            "oifname @inside ct direction reply accept",
            "oifname @inside counter name locked drop",
        ],
    )


def _chain(name: str, hook: str, rules: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"chain {name} {{"
    yield f"\t{hook}"
    yield from (f"\t{rule}" for rule in rules)
    yield "}"
