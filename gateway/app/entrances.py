"""From a listener's settings to what stands before its first request. Certificates and keys are read with everything
else, at the start and at every reload, and travel as bytes: whoever serves makes the contexts from them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.net.tls.contexts import BadMaterial, TlsMaterial, build_server_context
from gateway.serve.services import Entrance
from gateway.settings.gateway import GatewaySettings, TlsSettings
from gateway.settings.problems import BadValue, Problems
from gateway.settings.source.pem import read_key, read_pem


def load_materials(settings: GatewaySettings) -> Mapping[str, TlsMaterial]:
    """By the name of the listener, checked: a context can be made of each. Raises `ConfigErrors`."""
    problems = Problems()
    materials = {}
    for index, listener in enumerate(settings.listeners):
        if listener.tls is not None:
            try:
                materials[listener.name] = _load(listener.tls)
            except BadMaterial as bad:
                place = settings.document.place(("listeners", index, "tls", bad.part))
                problems.add(place, f"{_files(listener.tls)[bad.part]} {bad}")
    problems.raise_if_any()
    return materials


class Entrances:
    """Those of the listeners that run. A listener is fixed at the start, its certificates are not."""

    def __init__(self, running: GatewaySettings) -> None:
        self._running = running
        self._by_listener: Mapping[str, Entrance] = {}

    def take(self, settings: GatewaySettings, materials: Mapping[str, TlsMaterial]) -> None:
        """What a start or a reload has read. While changed listeners wait for a restart, their files wait as well."""
        if settings.listeners == self._running.listeners:
            self._by_listener = dict(_entrances(settings, materials))

    def at(self, listener: str) -> Entrance | None:
        """By the listener's name; None where nothing stands before the first request."""
        return self._by_listener.get(listener)


def _entrances(settings: GatewaySettings, materials: Mapping[str, TlsMaterial]) -> Iterator[tuple[str, Entrance]]:
    for listener in settings.listeners:
        trusted = listener.proxy_protocol.trusted if listener.proxy_protocol is not None else None
        tls = build_server_context(materials[listener.name]) if listener.tls is not None else None
        if trusted is not None or tls is not None:
            yield listener.name, Entrance(trusted, tls)


def _load(tls: TlsSettings) -> TlsMaterial:
    read = {}
    for part, path in _files(tls).items():
        try:
            read[part] = read_key(path) if part == "key" else read_pem(path)
        except BadValue as refusal:
            raise BadMaterial(part, str(refusal)) from refusal
    required = tls.client_cert == "required"
    material = TlsMaterial(read["cert"], read["key"], read.get("client_ca"), read.get("crl"), required)
    build_server_context(material)
    return material


def _files(tls: TlsSettings) -> dict[str, Path]:
    """By the key that names them."""
    named = {"cert": tls.cert, "key": tls.private_key, "client_ca": tls.client_ca, "crl": tls.crl}
    return {part: path for part, path in named.items() if path is not None}
