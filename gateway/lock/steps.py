"""The changes to the kernel, step by step: iproute2 commands and one nftables transaction.

The same steps are run by `kernel` and printed by `script`, so that what is shown is what is done. Removal comes first,
so that applying twice is the same as applying once.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.lock.capture import ROUTING_TABLE, TABLE, Capture, Place
from gateway.lock.ruleset import DELETE, build_ruleset

_PREFERENCE = str(ROUTING_TABLE)
_VERSIONS = ("-4", "-6")
_NFT = ("nft", "-f", "-")

IPV6_IS_OFF = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
"""Holds 0 where IPv6 is on; is not there in a kernel without it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command with its standard input. `removes`: it may fail because there is nothing to remove. `unless_off`: a
    file; the step is left out if it does not hold 0."""

    command: tuple[str, ...]
    text: str = ""
    removes: bool = False
    unless_off: str = ""


def steps_to_apply(capture: Capture) -> list[Step]:
    """Routing comes before the table, so that no packet is ever marked without a route for it."""
    return [*_unmark(), *_mark(capture), Step(_NFT, build_ruleset(capture))]


def steps_to_remove() -> list[Step]:
    """The table comes before the routing, for the same reason."""
    return [Step(_NFT, DELETE), *_unmark()]


def script(steps: Sequence[Step]) -> str:
    """The steps as a shell script."""
    return "\n".join(["#!/bin/sh", "set -e", *(_shown(step) for step in steps), ""])


def _mark(capture: Capture) -> Iterator[Step]:
    """TPROXY's packets are delivered to this machine because of their mark, whatever their destination. Where IPv6 is
    off the kernel takes no route of it, and what came all the same would be locked."""
    if capture.place is not Place.TPROXY:
        return
    mark = f"{capture.mark:#x}/{capture.mark:#x}"
    for version in _VERSIONS:
        off = IPV6_IS_OFF if version == "-6" else ""
        rule = ("ip", version, "rule", "add", "pref", _PREFERENCE, "fwmark", mark, "lookup", _PREFERENCE)
        route = ("ip", version, "route", "add", "local", "default", "dev", "lo", "table", _PREFERENCE)
        yield from (Step(command, unless_off=off) for command in (rule, route))


def _unmark() -> Iterator[Step]:
    for version in _VERSIONS:
        yield Step(("ip", version, "rule", "del", "pref", _PREFERENCE), removes=True)
        yield Step(("ip", version, "route", "flush", "table", _PREFERENCE), removes=True)


def _shown(step: Step) -> str:
    line = shlex.join(step.command)
    if step.text:
        return f"{line} <<'{TABLE}'\n{step.text}{TABLE}"
    if step.unless_off:
        return f'[ "$(cat {step.unless_off} 2>/dev/null)" != 0 ] || {line}'
    return f"{line} 2>/dev/null || true" if step.removes else line
