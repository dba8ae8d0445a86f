"""Every reason that only a request can have, by a real flow: what the client saw, what left, what the record says."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.model.reasons import Reason
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import Answer, Got, HttpOrigin, Talk, plain
from tests.helpers.raw_client import RawClient, status_of


@dataclass(frozen=True)
class Story:
    """The client sends `sends`, in which `{origin}` is the origin's port, and sees `status`; None is a reset in the
    midst of the answer. `{path}` is the story's own. `answer` None: no request may reach the origin."""

    reason: Reason
    status: int | None
    answer: Answer | None = None
    sends: str = "GET http://127.0.0.1:{origin}{path} HTTP/1.1\r\nHost: x\r\n\r\n"
    connects: bool = False
    decision: str = "allow"


def _says(data: bytes, closes: bool = False) -> Answer:
    def answer(talk: Talk, got: Got) -> None:
        talk.send(data)
        if closes:
            talk.close()
        talk.read_head()

    return answer


def _closes(talk: Talk, got: Got) -> None:
    talk.close()


def _resets(talk: Talk, got: Got) -> None:
    talk.reset()


_UPGRADE = (
    "GET http://127.0.0.1:{origin}{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
)
_POST = "POST http://127.0.0.1:{origin}{path} HTTP/1.1\r\nHost: x\r\n"
_IN_TUNNEL = "GET {path} HTTP/1.1\r\nHost: "

STORIES = [
    Story(
        Reason.HTTPS_WITHOUT_CONNECT,
        400,
        sends="GET https://127.0.0.1:{origin}{path} HTTP/1.1\r\nHost: x\r\n\r\n",
        decision="none",
    ),
    Story(
        Reason.UNSUPPORTED_TRANSFER_CODING,
        501,
        sends=_POST + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        decision="none",
    ),
    Story(Reason.BODY_TIMEOUT, 408, plain, sends=_POST + "Content-Length: 9\r\n\r\nabc"),
    Story(Reason.HOST_MISMATCH, 421, sends=_IN_TUNNEL + "127.0.0.1:1\r\n\r\n", connects=True, decision="deny"),
    Story(Reason.HOST_DENIED, 421, sends=_IN_TUNNEL + "no.test:{origin}\r\n\r\n", connects=True, decision="deny"),
    Story(Reason.CONNECTION_TERMINATED, 502, _closes),
    Story(Reason.CONNECTION_TERMINATED, 502, _resets),
    Story(Reason.RESPONSE_TIMEOUT, 504, _says(b"")),
    Story(Reason.RESPONSE_TIMEOUT, None, _says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")),
    Story(Reason.MALFORMED_RESPONSE, 502, _says(b"SSH-2.0-x\r\n\r\n")),
    Story(Reason.MALFORMED_RESPONSE, 502, _says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40)),
    Story(
        Reason.MALFORMED_RESPONSE, None, _says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n")
    ),
    Story(
        Reason.MALFORMED_RESPONSE, 502, _says(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    ),
    Story(Reason.RESPONSE_HEAD_TOO_LARGE, 502, _says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)),
    Story(Reason.RESPONSE_INCOMPLETE, 502, _says(b"HTTP/1.1 200 OK\r\n", closes=True)),
    Story(Reason.RESPONSE_INCOMPLETE, None, _says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", closes=True)),
    Story(
        Reason.UPGRADE_FAILED,
        502,
        _says(b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        sends=_UPGRADE,
    ),
]
REASONS = frozenset(story.reason for story in STORIES)
"""`test_reasons` looks that no reason is missing over both."""


@dataclass
class Bed:
    """One gateway, one origin whose answers are the stories' by path."""

    origin: HttpOrigin
    gateway: GatewayProcess


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    answers = {f"/{index}": story.answer for index, story in enumerate(STORIES) if story.answer is not None}
    with HttpOrigin(answers) as origin:
        rule = {"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "http"}
        rules = [
            {**rule, "timeouts": {"idle": "1s"}},
            {"name": "no", "hosts": ["no.test"], "action": "deny"},
        ]
        with GatewayProcess(tmp_path_factory.mktemp("request-reasons"), {"rules": rules}) as gateway:
            yield Bed(origin, gateway)


def _final_head(client: RawClient) -> bytes:
    head = client.read_head()
    while 100 < status_of(head) < 200:
        head = client.read_head()
    return head


@pytest.mark.parametrize("index", range(len(STORIES)), ids=lambda index: f"{index}-{STORIES[index].reason}")
def test_a_failure_is_told_contained_and_recorded(bed: Bed, index: int) -> None:
    story, path, requests = STORIES[index], f"/{index}", len(bed.origin.requests)
    with RawClient(bed.gateway.port) as client:
        if story.connects:
            assert status_of(client.connect(f"127.0.0.1:{bed.origin.port}")) == 200
        client.send(story.sends.format(origin=bed.origin.port, path=path).encode())
        if story.status is None:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            head = _final_head(client)
            assert status_of(head) == story.status
            assert b"Proxy-Status: " in head
    having = {"reason": story.reason, "decision": story.decision}
    record = bed.gateway.wait_for_records(1, **having)[-1]
    if story.decision != "none":
        record = bed.gateway.wait_for_records(1, path=path, **having)[-1]
        assert record["status"] == story.status or story.status is None
    if story.answer is None:
        assert len(bed.origin.requests) == requests
