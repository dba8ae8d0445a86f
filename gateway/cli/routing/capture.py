"""Turns the options of `routes` into a capture."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.lock.capture import MARK, Capture, Place
from gateway.model.addresses import Network
from gateway.settings.load import load_settings
from gateway.settings.problems import BadValue, did_you_mean
from gateway.settings.units import parse_cidr

_INTERFACE = re.compile(r"[^\s/\"\\{}*]{1,15}")  # as the kernel allows, without characters that mean something to nft
_PLACES = tuple(place.value for place in Place)


class Unusable(Exception):
    """Invalid options, or an invalid combination of them; the text says why."""


def read_capture(
    place: str,
    port: int | None,
    config: Path | None,
    interfaces: Sequence[str] | None,
    uid: int | None,
    passed: Sequence[str] | None,
    mark: str | None,
) -> Capture:
    """Raises `Unusable`, or `ConfigErrors` if gateway.yaml has to be read for the port."""
    if place not in _PLACES:
        raise Unusable(f"PLACE is one of {', '.join(_PLACES)}, not {place!r}{did_you_mean(place, _PLACES)}")
    capture = Capture(
        place=Place(place),
        port=port or _port_in(config),
        interfaces=tuple(dict.fromkeys(interfaces or ())),
        uid=uid,
        passed=tuple(map(_network, passed or ())),
        mark=MARK if mark is None else _bit(mark),
    )
    for problem in _problems(capture, mark):
        raise Unusable(problem)
    return capture


def _problems(capture: Capture, mark: str | None) -> Iterator[str]:
    if capture.place is Place.POD:
        if capture.uid is None:
            yield "pod needs --uid: without it the gateway's own connections would be led back to it"
        if capture.interfaces:
            yield "--interface is not for pod, whose own connections are captured"
    else:
        if not capture.interfaces:
            yield f"{capture.place} needs --interface, behind which the clients are"
        if capture.uid is not None:
            yield "--uid is for pod"
    for name in capture.interfaces:
        if not _INTERFACE.fullmatch(name):
            yield f"--interface: {name!r} is not the name of an interface"
    if mark is not None and capture.place is Place.REDIRECT:
        yield "--mark is not for redirect, which marks nothing"


def _port_in(config: Path | None) -> int:
    listeners = load_settings(config, os.environ).listeners
    ports = [listener.bind.port for listener in listeners if listener.mode == "transparent"]
    if len(ports) != 1:
        raise Unusable(f"name the listener by --port: gateway.yaml has {len(ports) or 'none'} with `mode: transparent`")
    return ports[0]


def _network(text: str) -> Network:
    try:
        return parse_cidr(text)
    except BadValue as refusal:
        raise Unusable(f"--pass: {refusal}") from refusal


def _bit(text: str) -> int:
    try:
        mark = int(text, 0)
    except ValueError:
        mark = 0
    if not 0 < mark < 1 << 32 or mark & (mark - 1):
        raise Unusable(f"--mark: {text!r} is not one bit of 32, such as 0x1000")
    return mark
