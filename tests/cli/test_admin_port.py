"""The admin port that cannot be asked or refuses: what is said tells what to do."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gateway.cli import admin_port
from gateway.cli.admin_port import AdminPort, NoAnswer

SAID = b"the admin token is needed (admin.token_file)\n"


class Refuses(BaseHTTPRequestHandler):
    """Whatever is asked, as a gateway with another token."""

    status, said = 401, SAID

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.said)))
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def bind() -> Iterator[str]:
    """Where it refuses."""
    server = HTTPServer(("127.0.0.1", 0), Refuses)
    serving = Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


def said(folder: Path, admin: str) -> str:
    """What asking the gateway with these settings comes to."""
    file = folder / "gateway.yaml"
    file.write_text(f"admin: {{{admin}}}\n")
    with pytest.raises(NoAnswer) as refusal:
        AdminPort(file).ask("GET", "/tunnels", "tunnels")
    return str(refusal.value)


def test_a_wrong_token_is_told_with_its_file(tmp_path: Path, bind: str) -> None:
    (tmp_path / "token").write_text("wrong")
    assert said(tmp_path, f"bind: '{bind}', token_file: token") == (
        f"the admin port {bind} does not take the token in {tmp_path}/token: is it the gateway's own admin.token_file?"
    )


def test_a_token_that_is_not_named_is_missed(tmp_path: Path, bind: str) -> None:
    assert said(tmp_path, f"bind: '{bind}'") == (
        f"the admin port {bind} needs the token, and admin.token_file names none: "
        "-c names the gateway's own gateway.yaml"
    )


def test_a_token_that_cannot_be_read_is_told_with_its_key(tmp_path: Path) -> None:
    told = said(tmp_path, "bind: '127.0.0.1:1', token_file: gone")
    assert told == f"{tmp_path}/gone: admin.token_file: No such file or directory"


def test_where_nobody_listens_the_likeliest_reasons_are_told(tmp_path: Path) -> None:
    assert said(tmp_path, "bind: '127.0.0.1:1'") == (
        "no answer from the admin port 127.0.0.1:1 (Connection refused): is the gateway running, and is this its "
        "admin.bind? -c names its gateway.yaml"
    )


def test_a_gateway_that_hangs_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_port, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        bind = f"127.0.0.1:{stopped.getsockname()[1]}"
        assert said(tmp_path, f"bind: '{bind}'") == (
            f"no answer from the admin port {bind} within 0.05 s: is the gateway stopped, or without CPU, or a packet "
            "filter in between?"
        )


@pytest.mark.parametrize("token", ["", "two words", "two\nlines"])
def test_what_cannot_be_a_token_is_told(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    told = said(tmp_path, "bind: '127.0.0.1:1', token_file: token")
    assert told == f"{tmp_path}/token: admin.token_file: is empty, or holds blanks"


def test_a_token_is_the_bytes_of_its_file(tmp_path: Path, bind: str) -> None:
    """A part of a letter is no blank, though it would be one in another encoding."""
    (tmp_path / "token").write_text("pr\u00e0t\n")
    assert "does not take the token in" in said(tmp_path, f"bind: '{bind}', token_file: token")


@pytest.mark.parametrize("body", [b'{"status": "up"}', b"[]", b"null", b"<html>\n<p>hello", b"\xff\x1b[1m"])
def test_what_is_no_gateway_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bind: str, body: bytes
) -> None:
    monkeypatch.setattr(Refuses, "status", 200)
    monkeypatch.setattr(Refuses, "said", body)
    told = said(tmp_path, f"bind: '{bind}'")
    assert told.startswith(f"what answers at {bind} is no gateway's admin port: ")
    assert told.isprintable()
    with pytest.raises(NoAnswer, match="is no gateway's admin port"):
        next(AdminPort(tmp_path / "gateway.yaml").lines("/flows", {}))
