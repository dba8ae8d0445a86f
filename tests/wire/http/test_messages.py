"""What heads say about the connection."""

import pytest

from gateway.wire.http.messages import NO_CONTENT, Fields, Framing, Request, Response


def request(*fields: tuple[str, str], minor: int = 1, method: str = "GET") -> Request:
    return Request(method, "/?secret", minor, fields, NO_CONTENT)


@pytest.mark.parametrize(
    ("minor", "fields", "persistent"),
    [
        (1, (), True),
        (1, (("Connection", "Close"),), False),
        (1, (("connection", "x, close ,y"),), False),
        (1, (("Connection", "closed"),), True),
        (0, (), False),
        (0, (("Connection", "Keep-Alive"),), True),
        (0, (("Proxy-Connection", "keep-alive"),), True),
        (0, (("Connection", "keep-alive"), ("Connection", "close")), False),
    ],
)
def test_persistence(minor: int, fields: Fields, persistent: bool) -> None:
    assert request(*fields, minor=minor).is_persistent is persistent


def test_an_upgrade_needs_its_connection_option_and_http_1_1() -> None:
    offer, option = ("Upgrade", "WebSocket, h2c"), ("Connection", "keep-alive, Upgrade")
    assert request(offer, option).upgrade == ("websocket", "h2c")
    assert request(offer).upgrade == request(option).upgrade == request(offer, option, minor=0).upgrade == ()
    assert request(offer, option).pauses
    assert request(method="CONNECT").pauses
    assert not request().pauses


def test_expecting_a_100() -> None:
    assert request(("Expect", "100-Continue")).expects_continue
    assert not request(("Expect", "100-continue"), minor=0).expects_continue
    assert not request(("Expect", "something")).expects_continue


def test_interim_are_all_1xx_but_the_switch() -> None:
    told = {status for status in range(100, 600) if Response(status, "", 1, (), NO_CONTENT).is_interim}
    assert told == set(range(100, 200)) - {101}


def test_no_secret_stands_in_the_representation() -> None:
    message = request(("Authorization", "secret"))
    assert "secret" not in repr(message) + repr(
        Response(200, "secret", 1, message.fields, Framing(NO_CONTENT.delimiter))
    )
