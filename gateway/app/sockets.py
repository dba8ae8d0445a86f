"""The listening sockets: bound before anything else is built, and kept for as long as the gateway lives."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.model.addresses import Address, parse_address
from gateway.model.errors import ConfigError
from gateway.net.listener import open_listener, open_listeners
from gateway.settings.gateway import GatewaySettings, ListenerSettings

TRANSPARENT = "transparent"

NamedSockets = Sequence[tuple[str, socket.socket]]
"""Sockets by the name of their listener."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """All that the gateway listens on. `proxies` are the sockets of each worker: from its first packet on a connection
    belongs to the worker whose socket the kernel chose, and waits in it while that worker is replaced."""

    proxies: Sequence[NamedSockets]
    admin: socket.socket
    health: socket.socket | None

    def all(self) -> list[socket.socket]:
        """One for each address."""
        return [sock for _, sock in self.proxies[0]] + [s for s in (self.admin, self.health) if s is not None]

    def addresses(self) -> frozenset[tuple[Address, int]]:
        """Where the gateway listens."""
        return frozenset(address_of(sock) for sock in self.all())

    def close_proxies(self) -> None:
        """In this process: others that have them open go on accepting."""
        for sockets in self.proxies:
            for _, sock in sockets:
                sock.close()

    def __str__(self) -> str:
        proxies = ", ".join(f"{name} on {_shown(sock)}" for name, sock in self.proxies[0])
        health = f", health on {_shown(self.health)}" if self.health is not None else ""
        return f"{proxies}; admin on {_shown(self.admin)}{health}"


def bind_sockets(settings: GatewaySettings, workers: int = 1) -> Sockets:
    """Raises `ConfigError` that names the key and the address that cannot be bound."""
    groups = []
    for number, listener in enumerate(settings.listeners):
        with _named(f"listeners[{number}].bind"):
            groups.append([(listener.name, sock) for sock in _open(listener, workers)])
    admin, health = settings.admin.bind, settings.admin.health
    with _named("admin.bind"):
        admin_socket = open_listener(admin.address, admin.port)
    with _named("admin.health"):
        health_socket = open_listener(health.address, health.port) if health is not None else None
    return Sockets(list(zip(*groups, strict=True)), admin_socket, health_socket)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Name the key in the error: the address alone does not say which of several it is."""
    try:
        yield
    except ConfigError as refusal:
        raise ConfigError(key, str(refusal)) from refusal


def transparent_listeners(settings: GatewaySettings) -> frozenset[str]:
    """The names of the listeners for captured connections."""
    return frozenset(listener.name for listener in settings.listeners if listener.mode == TRANSPARENT)


def _open(listener: ListenerSettings, workers: int) -> Sequence[socket.socket]:
    bind = listener.bind
    return open_listeners(bind.address, bind.port, workers, transparent=listener.mode == TRANSPARENT)


def address_of(sock: socket.socket) -> tuple[Address, int]:
    """Where a socket is bound."""
    text, port = sock.getsockname()[:2]
    address = parse_address(text)
    if address is None:
        raise ValueError(f"not an IP address: {text}")
    return address, port


def _shown(sock: socket.socket) -> str:
    address, port = address_of(sock)
    return f"{address.uri_host}:{port}"
