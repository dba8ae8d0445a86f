"""Ports of loopback that stay a test's own, also while nobody listens there.

A port that is only found free is given to the next program that asks for any: to another test that runs beside, or to
the very connection that is to be refused there.
"""

import socket

_kept: list[socket.socket] = []


def held_port(*others: str) -> socket.socket:
    """A socket whose port nobody is given who asks for any, until it is closed. It does not listen: who connects is
    refused. Who names that port can listen there (with SO_REUSEADDR, which servers set), end, and listen again.

    Nor has anybody that port at the `others`, as addresses: a client that came from there keeps its own for a minute
    after its end."""
    while True:
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        if all(is_free(address, port_of(held)) for address in others):
            return held
        held.close()


def port_of(held: socket.socket) -> int:
    """Its number."""
    port: int = held.getsockname()[1]
    return port


def free_port(*others: str) -> int:
    """One that is held until this process ends."""
    held = held_port(*others)
    _kept.append(held)
    return port_of(held)


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there."""
    try:
        socket.create_server((address, port)).close()
    except OSError:
        return False
    return True
