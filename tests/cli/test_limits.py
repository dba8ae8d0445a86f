"""`egress-gateway limits` against an admin port that answers as a test says."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app

FILLS = [
    {"limit": "p#a.connections", "key": ["10.0.0.1"], "counts": "connections", "rate": 5.0, "burst": 10.0, "left": 0.0,
     "used": 1.0, "refused": 7, "report": True},
    {"limit": "quota q", "key": [], "counts": "bytes", "rate": 1073741824.0, "burst": 1.0, "left": 2048.0,
     "used": 0.999, "refused": 0, "report": False},
    {"limit": "p#b.bandwidth", "key": [], "counts": "bandwidth", "rate": 1048576.0, "burst": 65536.0, "left": 12.0,
     "used": 0.5, "refused": 0, "report": False},
]  # fmt: skip


@contextmanager
def admin_port(folder: Path) -> Iterator[Path]:
    """The settings that lead to it."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"limits": FILLS}).encode()
            self.send_response(200 if self.path == "/limits" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answers)
    serving = Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        file = folder / "gateway.yaml"
        file.write_text(f'admin: {{bind: "127.0.0.1:{server.server_port}"}}\n')
        yield file
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_the_table_says_what_is_left_of_what(tmp_path: Path) -> None:
    with admin_port(tmp_path) as file:
        result = CliRunner().invoke(app, ["limits", "-c", str(file)])
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["LIMIT", "KEY", "USED", "LEFT", "OF", "REFUSED"]
    assert lines[1] == ["p#a.connections", "10.0.0.1", "100%", "0", "10,", "5/s", "7", "(report)"]
    assert lines[2] == ["quota", "q", "100%", "2.0KiB", "1.0GiB", "0"]
    assert lines[3] == ["p#b.bandwidth", "50%", "12B", "64.0KiB,", "1.0MiB/s", "0"]
    assert lines[4] == ["3", "in", "use"]


def test_json_is_what_the_admin_port_says_of_the_limits_wanted(tmp_path: Path) -> None:
    with admin_port(tmp_path) as file:
        result = CliRunner().invoke(app, ["limits", "-c", str(file), "-o", "json", "--name", "quota"])
    assert json.loads(result.stdout) == [FILLS[1]]


def test_it_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with admin_port(tmp_path) as file:
        result = CliRunner().invoke(app, ["limits", "-c", str(file), "-o", "json", "--follow"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


def test_without_an_answer_it_fails(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text('admin: {bind: "127.0.0.1:1"}\n')
    assert CliRunner().invoke(app, ["limits", "-c", str(file)]).exit_code == 2
    assert CliRunner().invoke(app, ["limits", "-c", str(file), "-o", "xml"]).exit_code == 2
