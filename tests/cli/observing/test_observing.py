"""`observe`: what it reads, and how it prints."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.admin_port import NoAnswer
from gateway.cli.main import app
from gateway.cli.observing import following
from gateway.cli.observing.following import Missed, flows
from gateway.cli.observing.shapes import SHAPES, table_head
from tests.settings.texts import write

FLOW = {
    "time": "2027-01-15T08:00:00.123Z",
    "client_address": "10.0.0.1",
    "client_port": 40000,
    "user": "ci",
    "host": "api.example.com",
    "port": 443,
    "decision": "deny",
    "status": 403,
    "reason": "no_rule",
    "ended": "refused",
    "bytes_up": 1,
    "bytes_down": 2,
    "groups": ["a", "b"],
}


class FakePort:
    """Answers with these streams, one after the other; `None` for no answer."""

    def __init__(self, *streams: list[bytes] | None) -> None:
        self.streams = list(streams)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        self.asked.append((path, dict(headers)))
        stream = self.streams.pop(0)
        if stream is None:
            raise NoAnswer("gone")
        yield from stream


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.0)


def test_it_goes_on_where_a_stream_ended_and_bears_a_gateway_that_is_away() -> None:
    first = [b"retry: 100\n", b"\n", b"id: e-1\n", b'data: {"n":1}\n', b"\n", b"id: e-9\n", b"\n"]
    second = [b"event: missed\n", b'data: {"missed":4}\n', b"\n", b"id: e-14\n", b'data: {"n":2}\n', b"\n"]
    port = FakePort(first, None, None, second)
    came = flows(port.lines, [("verdict", "dropped")], follow=True)
    assert [next(came) for _ in range(3)] == [{"n": 1}, Missed(4), {"n": 2}]
    assert port.asked == [
        ("/flows?verdict=dropped&follow=true", {}),
        *[("/flows?verdict=dropped&follow=true", {"Last-Event-ID": "e-9"})] * 3,
    ]


def test_a_gateway_that_never_answered_is_an_error() -> None:
    with pytest.raises(NoAnswer):
        next(flows(FakePort(None).lines, [], follow=True))


def test_one_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRIES", 3)
    port = FakePort([b"id: e-1\n", b'data: {"n":1}\n', b"\n"], *[None] * 4)
    with pytest.raises(NoAnswer):
        list(flows(port.lines, [], follow=True))
    assert len(port.asked) == 5


def test_without_follow_one_stream_is_all() -> None:
    port = FakePort([b"id: e-1\n", b'data: {"n":1}\n', b"\n"])
    assert list(flows(port.lines, [("last", "1")], follow=False)) == [{"n": 1}]
    assert port.asked == [("/flows?last=1", {})]


class TornPort(FakePort):
    """Breaks off in the middle."""

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        yield from super().lines(path, headers)
        raise NoAnswer("torn")


def test_without_follow_a_stream_that_breaks_off_is_an_error_and_not_the_end() -> None:
    came = flows(TornPort([b"id: e-1\n", b'data: {"n":1}\n', b"\n"]).lines, [], follow=False)
    assert next(came) == {"n": 1}
    with pytest.raises(NoAnswer):
        next(came)


def test_the_shapes() -> None:
    assert SHAPES["compact"](FLOW) == (
        "2027-01-15T08:00:00.123Z: ci@10.0.0.1:40000 -> api.example.com:443 DROPPED 403 (no_rule; up 1, down 2)"
    )
    six = SHAPES["compact"](FLOW | {"client_address": "2001:db8::7", "host": "2001:db8::1"})
    assert " ci@[2001:db8::7]:40000 -> [2001:db8::1]:443 DROPPED " in six
    assert SHAPES["json"]({"a": [1, "b"]}) == '{"a":[1,"b"]}'
    assert "            groups: a, b\n" in SHAPES["dict"](FLOW)
    row = SHAPES["table"](FLOW)
    for title, cell in (("FROM", "ci@"), ("TO", "api."), ("VERDICT", "dropped"), ("WHY", "no_rule")):
        assert table_head().index(title) == row.index(cell)
    bare = {key: FLOW[key] for key in ("time", "client_address", "client_port", "ended", "bytes_up", "bytes_down")}
    for shape in SHAPES.values():
        assert shape({**bare, "decision": "none"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "yaml"], "-o is one of compact, dict, json, table, not 'yaml'"),
        (["--since", "soon"], "--since: "),
        ([], "no answer from the admin port 127.0.0.1:9"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    config = write(tmp_path, "gateway.yaml", "admin: {bind: '127.0.0.1:9'}")
    done = CliRunner().invoke(app, ["observe", "-c", str(config), *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
