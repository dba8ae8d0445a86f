"""What each listener expects before the first request: made from its settings and its TLS material."""

from collections.abc import Callable, Iterator, Mapping

from gateway.app.configuration import Materials
from gateway.net.tls.contexts import ListenerTls
from gateway.serve.services import Entrance
from gateway.settings.gateway import GatewaySettings


class Entrances:
    """Those of the running listeners, which are fixed at the start; their certificates are not."""

    def __init__(self, running: GatewaySettings, materials: Materials) -> None:
        self._running = running
        self._by_listener: Mapping[str, Entrance] = dict(_entrances(running, materials))

    def prepare(self, settings: GatewaySettings, materials: Materials) -> Callable[[], None]:
        """For a newer generation; the returned function puts them in force and cannot fail. While changed listeners
        wait for a restart, their certificates wait as well."""
        if settings.listeners != self._running.listeners:
            return lambda: None
        fresh = dict(_entrances(settings, materials))

        def commit() -> None:
            self._by_listener = fresh

        return commit

    def at(self, listener: str) -> Entrance | None:
        """By the listener's name; None where nothing comes before the first request."""
        return self._by_listener.get(listener)


def _entrances(settings: GatewaySettings, materials: Materials) -> Iterator[tuple[str, Entrance]]:
    for listener in settings.listeners:
        trusted = listener.proxy_protocol.trusted if listener.proxy_protocol is not None else None
        tls = ListenerTls(materials[listener.name]) if listener.tls is not None else None
        if trusted is not None or tls is not None:
            yield listener.name, Entrance(trusted, tls)
