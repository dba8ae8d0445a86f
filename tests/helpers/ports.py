"""Ports of loopback that stay a test's own, also while nobody listens there.

A port that is only found free is given to the next program that asks for any: to another test that runs beside, or to
the very connection that is to be refused there.
"""

import socket

_kept: list[socket.socket] = []


def held_port() -> socket.socket:
    """A socket whose port nobody is given who asks for any, until it is closed. It does not listen: who connects is
    refused. Who names that port can listen there (with SO_REUSEADDR, which servers set), end, and listen again."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def port_of(held: socket.socket) -> int:
    """Its number."""
    port: int = held.getsockname()[1]
    return port


def free_port() -> int:
    """One that is held until this process ends."""
    _kept.append(held_port())
    return port_of(_kept[-1])
