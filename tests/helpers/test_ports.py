"""A port that is held is refused, and can be listened on again and again."""

import socket

import pytest

from tests.helpers.ports import held_port, port_of


def test_a_held_port_refuses_until_somebody_listens_there_and_again_afterwards() -> None:
    with held_port() as held:
        address = "127.0.0.1", port_of(held)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            with socket.create_server(address), socket.create_connection(address):
                pass


def test_nobody_is_given_it_who_asks_for_any() -> None:
    with held_port() as held, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port_of(held)))  # the kernel's own choice does not share either
