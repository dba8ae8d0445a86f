"""Inspectors inside real inspected TLS: what the client saw, what reached the origin, what the record says."""

import gzip
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import psutil
import pytest

from gateway.model.reasons import Reason
from tests.flows import inspectors
from tests.flows.interception import Bed, inspecting, problem
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.http_origin import Got, Talk
from tests.helpers.raw_client import status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_client import TlsClient
from tests.helpers.tls_origin import Issuer, TlsOrigin
from tests.intercept.shipped.keys import KEYS

REASONS = frozenset({Reason.INSPECTOR_DENIED, Reason.INSPECTOR_FAILED, Reason.CONTENT_UNREADABLE})
"""`test_reasons` looks that no reason is missing over all."""

KEY = KEYS["github-token"]
CUTS = (1, 3, 4, 20, len(KEY) - 1)
LARGE = 70_000  # more than is waited for
DECLARED: dict[str, Any] = {
    "keys": {"secrets": {}},
    "notes": {"secrets": {"action": "report"}},
    "types": {
        "media": {
            "request": {"types": ["application/json"], "max_size": "80KiB"},
            "response": {"deny_types": ["application/x-msdownload"], "max_size": "100KiB"},
        }
    },
    "lenient": {"secrets": {}, "unknown_coding": "allow"},
    "no-drafts": {"kind": "drafts", "options": {"marker": "CONFIDENTIAL"}},
    "harm": {"kind": "harmful", "timeout": "1500ms"},
    "forgiven": {"kind": "harmful", "timeout": "1500ms", "on_error": "allow"},
    "open": {"kind": "harmful", "unknown_coding": "allow"},
    "patient": {"kind": "harmful", "timeout": "20s"},
}
RULES = {
    "keys": ["keys"],
    "trial": ["keys"],
    "notes": ["notes"],
    "media": ["types"],
    "lenient": ["lenient"],
    "drafts": ["no-drafts"],
    "harm": ["harm"],
    "forgiven": ["forgiven"],
    "open": ["open"],
    "patient": ["patient"],
}


@dataclass
class Story:
    """Each rule has a host of its own."""

    bed: Bed
    origin: TlsOrigin

    @property
    def gateway(self) -> GatewayProcess:
        return self.bed.gateway

    def client(self, rule: str) -> TlsClient:
        return self.bed.client(f"{rule}.test")

    def ask(
        self, rule: str, path: str, body: bytes = b"", *fields: str, media_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """One request on a connection of its own: status and content of the answer."""
        with self.client(rule) as client:
            length = f"Content-Length: {len(body)}"
            named = f"{rule}.test:{self.origin.port}"
            typed = [f"Content-Type: {media_type}"] if media_type else []
            client.ask(named, path, length, *typed, *fields, method="POST", body=body)
            head, content = read_response(client)
            return status_of(head), content

    def record(self, path: str, **having: object) -> Record:
        return self.gateway.wait_for_records(1, path=path, **having)[-1]

    def reached(self, path: str) -> list[Got]:
        return [each for each in self.origin.requests if each.path == path]

    def read_by_origin(self) -> bytes:
        return b"".join(bytes(visit.received) for visit in self.origin.origin.visits)

    def wait_until_read(self, data: bytes) -> None:
        deadline = time.monotonic() + 10
        while data not in self.read_by_origin():
            assert time.monotonic() < deadline, "it did not reach the origin"
            time.sleep(0.01)


def executable(talk: Talk, got: Got) -> None:
    talk.read_body(got)
    talk.reply(b"MZ", "200 OK", "Content-Type: application/x-msdownload")


seen = threading.Event()


def long_answer(talk: Talk, got: Got) -> None:
    """Of a length that nobody tells; most of it comes when the client has seen the beginning."""
    talk.read_body(got)
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    talk.send(_chunk(b"a" * 1000))
    assert seen.wait(30)
    for _ in range(64):
        talk.send(_chunk(b"a" * 0x4000))
    talk.send(b"0\r\n\r\n")


def forbidden(talk: Talk, got: Got) -> None:
    talk.read_body(got)
    talk.reply(b"this is forb" + b"idden")


def described(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: lzma\r\nContent-Length: 9\r\n\r\n")


def switching(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Kind: odd\r\n\r\n")


def swallow(talk: Talk, got: Got) -> None:
    """Whatever comes, until no more does."""
    while talk.read_some():
        pass


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("inspectors")
    kinds = inspectors.install_kinds(folder / "kinds")
    issuer = Issuer(folder)
    names = [f"{rule}.test" for rule in RULES]
    answers: dict[str, Callable[[Talk, Got], None]] = {
        "/executable": executable,
        "/long": long_answer,
        "/forbidden": forbidden,
        "/switched": switching,
        "/not-switched": switching,
        "/described": described,
        **{f"/split/{cut}": swallow for cut in CUTS},
    }
    rules: list[dict[str, Any]] = [
        {
            "name": rule,
            "hosts": [f"{rule}.test"],
            "inspect": {"upstream_ca": "origins.pem", "inspectors": named},
            **({"mode": "report"} if rule == "trial" else {}),
            **({"timeouts": {"idle": "500ms"}} if rule == "patient" else {}),
        }
        for rule, named in RULES.items()
    ]
    path = os.pathsep.join([str(kinds), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        with (
            TlsOrigin(context=issuer.context(*names), answers=answers) as origin,
            inspecting(folder, origin, issuer, time.time(), rules, inspectors=DECLARED) as bed,
        ):
            yield Story(bed, origin)


def test_what_holds_no_key_passes_as_it_was_sent(story: Story) -> None:
    body = json.dumps({"a": "ghp_short", "b": "x" * 1000}).encode()
    assert story.ask("keys", "/clean", body)[0] == 200
    [got] = story.reached("/clean")
    assert got.body == body
    assert "annotations" not in story.record("/clean")


def test_a_small_request_with_a_key_leaves_no_trace_beyond_the_gateway(story: Story) -> None:
    queries, connections = len(story.bed.dns.queries), story.origin.connections
    with story.client("keys") as client:
        # the destination proves itself before the client's handshake ends
        queries, connections = len(story.bed.dns.queries), story.origin.connections
        read = len(story.read_by_origin())
        named = f"keys.test:{story.origin.port}"
        body = b'{"key": "' + KEY + b'"}'
        client.ask(
            named, "/small", f"Content-Length: {len(body)}", "Accept: application/json", method="POST", body=body
        )
        head, content = read_response(client)
    assert status_of(head) == 403
    assert b"application/problem+json" in head
    assert problem(content)["reason"] == Reason.INSPECTOR_DENIED
    assert b"github" not in head + content  # what was found is for the operator
    assert (len(story.bed.dns.queries), story.origin.connections) == (queries, connections)
    assert len(story.read_by_origin()) == read
    record = story.record("/small")
    assert (record["decision"], record["reason"], record["bytes_up"]) == ("deny", Reason.INSPECTOR_DENIED, 0)
    assert record["detail"] == "keys: github-token in the request's content"


@pytest.mark.parametrize("cut", CUTS)
def test_a_key_split_over_chunks_is_found_and_not_completed_beyond(story: Story, cut: int) -> None:
    path = f"/split/{cut}"
    with story.client("keys") as client:
        head = f"POST {path} HTTP/1.1\r\nHost: keys.test:{story.origin.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        filler = b"%02d-" % cut * 300
        client.send(head.encode() + _chunk(filler) + _chunk(b" " + KEY[:cut]))
        story.wait_until_read(filler)  # what may leave has left
        client.send(_chunk(KEY[cut:]) + b"0\r\n\r\n")
        answer, _ = read_response(client)
    assert status_of(answer) == 403
    record = story.record(path)
    assert (record["reason"], record["status"], record["ended"]) == (Reason.INSPECTOR_DENIED, 403, "refused")
    [got] = story.reached(path)
    read = bytes(story.origin.origin.visits[got.visit - 1].received)
    assert filler in read
    assert KEY[:5] not in read  # its fixed start at most
    assert KEY.decode() not in story.gateway.log_file.read_text()


def test_a_large_request_is_cut_off_before_its_end(story: Story) -> None:
    body = b"f" * LARGE + b" " + KEY
    status, _ = story.ask("keys", "/large", body)
    assert status == 403
    story.record("/large", reason=Reason.INSPECTOR_DENIED)
    for got in story.reached("/large"):
        assert len(got.body) < len(body)
        assert KEY[:5] not in got.body


def test_a_large_request_without_a_key_passes(story: Story) -> None:
    body = os.urandom(3_000_000)
    assert story.ask("keys", "/passes", body)[0] == 200
    [got] = story.reached("/passes")
    assert got.body == body


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)]
)
def test_content_is_judged_decoded_and_passes_coded(
    story: Story, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    clean, dirty = encode(b"nothing here" * 50), encode(b"f" * 500 + KEY)
    assert story.ask("keys", f"/{coding}", clean, f"Content-Encoding: {coding}")[0] == 200
    [got] = story.reached(f"/{coding}")
    assert got.body == clean
    assert story.ask("keys", f"/{coding}/dirty", dirty, f"Content-Encoding: {coding}")[0] == 403
    assert story.record(f"/{coding}/dirty")["reason"] == Reason.INSPECTOR_DENIED
    assert story.reached(f"/{coding}/dirty") == []


def test_a_large_coded_request_passes_an_inspector_that_holds_back_the_last_bytes_of_each_piece(story: Story) -> None:
    coded = gzip.compress(os.urandom(1_500_000), 1)
    assert story.ask("drafts", "/coded", coded, "Content-Encoding: gzip")[0] == 200
    [got] = story.reached("/coded")
    assert got.body == coded


def test_content_that_cannot_be_read_is_refused_unless_the_inspector_lets_it(story: Story) -> None:
    assert story.ask("keys", "/lzma", b"abc", "Content-Encoding: lzma")[0] == 403
    record = story.record("/lzma")
    assert (record["reason"], record["detail"]) == (Reason.CONTENT_UNREADABLE, "content coding lzma, for keys")
    assert story.reached("/lzma") == []
    assert story.ask("lenient", "/lzma/lenient", b"abc", "Content-Encoding: lzma")[0] == 200
    assert story.ask("keys", "/broken", b"no gzip at all", "Content-Encoding: gzip")[0] == 403
    assert story.record("/broken")["reason"] == Reason.CONTENT_UNREADABLE


def test_a_coding_of_no_content_hides_nothing(story: Story) -> None:
    assert story.ask("keys", "/lzma/empty", b"", "Content-Encoding: lzma")[0] == 200
    with story.client("drafts") as client:
        client.ask(f"drafts.test:{story.origin.port}", "/described", method="HEAD")
        head = client.read_head()
    assert status_of(head) == 200
    assert b"Content-Encoding: lzma" in head
    assert story.record("/described")["decision"] == "allow"


def test_a_bomb_is_refused_and_takes_no_memory(story: Story) -> None:
    bomb = gzip.compress(bytes(60_000_000), 9)
    assert len(bomb) < 64 * 1024
    before = _resident(story.gateway.process.pid)
    assert story.ask("keys", "/bomb", bomb, "Content-Encoding: gzip")[0] == 403
    record = story.record("/bomb")
    assert record["reason"] == Reason.CONTENT_UNREADABLE
    assert "100 times" in record["detail"]
    assert story.reached("/bomb") == []
    assert _resident(story.gateway.process.pid) - before < 16_000_000


def test_report_mode_notes_what_it_would_have_refused(story: Story) -> None:
    assert story.ask("trial", "/trial", KEY)[0] == 200
    record = story.record("/trial")
    assert (record["would_deny"], record["decision"]) == (Reason.INSPECTOR_DENIED, "allow")
    [got] = story.reached("/trial")
    assert got.body == KEY


def test_a_reporting_inspector_notes_the_form_in_the_record(story: Story) -> None:
    assert story.ask("notes", "/notes", b"a " + KEY)[0] == 200
    assert story.record("/notes")["annotations"] == {"notes.found": "github-token"}


@pytest.mark.parametrize(
    ("path", "body", "media_type"),
    [("/text", b"x", "text/plain"), ("/untyped", b"x", ""), ("/fat", b"x" * 90_000, "application/json")],
)
def test_media_types_and_sizes_are_judged_before_the_dial(
    story: Story, path: str, body: bytes, media_type: str
) -> None:
    assert story.ask("media", path, body, media_type=media_type)[0] == 403
    assert story.record(path)["reason"] == Reason.INSPECTOR_DENIED
    assert story.reached(path) == []


def test_an_answer_of_the_wrong_type_does_not_reach_the_client(story: Story) -> None:
    status, content = story.ask("media", "/executable", b"{}")
    assert status == 403
    assert b"MZ" not in content
    record = story.record("/executable")
    assert (record["reason"], record["detail"]) == (
        Reason.INSPECTOR_DENIED,
        "types: media type application/x-msdownload",
    )


def test_an_answer_that_grows_too_large_is_cut_off(story: Story) -> None:
    with story.client("media") as client:
        client.ask(f"media.test:{story.origin.port}", "/long")
        got = client.socket.recv(65536)
        seen.set()
        with suppress(OSError):
            while data := client.socket.recv(65536):
                got += data
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert not got.endswith(b"0\r\n\r\n")
    assert len(got) < 120 * 1024
    record = story.record("/long")
    assert (record["reason"], record["status"], record["ended"]) == (Reason.INSPECTOR_DENIED, 200, "refused")


def test_the_example_of_the_documentation_works_as_it_stands_there(story: Story) -> None:
    assert story.ask("drafts", "/fine", b"nothing of the kind")[0] == 200
    assert story.record("/fine")["annotations"] == {"no-drafts.size": "19"}
    assert story.ask("drafts", "/draft", b"this is CONFIDENTIAL")[0] == 403
    record = story.record("/draft")
    assert (record["reason"], record["detail"]) == (Reason.INSPECTOR_DENIED, "no-drafts: a draft")
    assert story.reached("/draft") == []


def test_an_inspector_that_reads_answers_stops_them(story: Story) -> None:
    content = b""
    with suppress(ConnectionResetError):  # whether it was cut off by an end or a reset is up to the systems between
        _, content = story.ask("harm", "/forbidden")
    assert b"idden" not in content
    record = story.record("/forbidden")
    assert (record["reason"], record["detail"], record["bytes_down"]) == (
        Reason.INSPECTOR_DENIED,
        "harm: a word",
        0,
    )
    assert story.ask("harm", "/allowed") == (200, b"hello\n")


@pytest.mark.parametrize("harm", ["raise", "nonsense"])
def test_an_inspector_that_raises_denies_and_is_counted(story: Story, harm: str) -> None:
    path, counted = f"/{harm}", _failures(story, "harm")
    assert story.ask("harm", path, b"secret stuff", f"X-Harm: {harm}")[0] == 403
    record = story.record(path)
    assert record["reason"] == Reason.INSPECTOR_FAILED
    assert record["annotations"]["harm.failed"].startswith("raised ")
    assert story.reached(path) == []
    assert _failures(story, "harm") == counted + 1
    assert not any("secret stuff" in line for line in story.gateway.stderr_lines)


def test_one_that_may_fail_lets_pass_and_is_counted(story: Story) -> None:
    assert story.ask("forgiven", "/forgiven", b"stuff", "X-Harm: raise")[0] == 200
    record = story.record("/forgiven")
    assert "reason" not in record
    assert record["annotations"]["forgiven.failed"].startswith("raised ValueError")
    assert _failures(story, "forgiven") == 1


def test_a_denial_of_many_words_denies_even_if_failures_are_forgiven(story: Story) -> None:
    assert story.ask("forgiven", "/wordy", b"stuff", "X-Harm: wordy")[0] == 403
    record = story.record("/wordy")
    assert (record["reason"], record["detail"]) == (Reason.INSPECTOR_DENIED, "forgiven: " + "w" * 199 + "?")
    assert story.reached("/wordy") == []


def test_one_whose_process_dies_denies_and_another_is_started(story: Story) -> None:
    for path in ("/dies/1", "/dies/2"):
        assert story.ask("harm", path, b"", "X-Harm: die")[0] == 403
        record = story.record(path)
        assert (record["reason"], record["detail"]) == (Reason.INSPECTOR_FAILED, "harm: its process has ended")


def test_one_that_sleeps_denies_in_time_and_nobody_else_notices(story: Story) -> None:
    _hangs_alone(story, "sleep", "took longer than 1.5 s")


def test_one_that_cannot_be_interrupted_is_ended_and_nobody_else_notices(story: Story) -> None:
    _hangs_alone(story, "spin", "did not answer within 2 s")


@pytest.mark.parametrize("fields", [("Content-Length: 6",), ("Expect: 100-continue", "Content-Length: 6")])
def test_while_it_looks_at_content_nobody_idles(story: Story, fields: tuple[str, ...]) -> None:
    """Neither before the dial, where small content is looked at, nor later: the destination has nothing to answer."""
    path = f"/pondered/{len(fields)}"
    with story.client("patient") as client:
        client.ask(f"patient.test:{story.origin.port}", path, "X-Harm: ponder", *fields, method="POST", body=b"answer")
        head, content = read_response(client)
    assert (status_of(head), content) == (200, b"hello\n")
    assert story.record(path)["total_ms"] > 1900


def test_its_process_has_nothing_of_a_workers_but_its_own_channel(tmp_path: Path) -> None:
    """It could else accept the gateway's connections and read its keys, and would hide from the supervisor that the
    worker has ended."""
    kinds = inspectors.install_kinds(tmp_path / "kinds")
    path = os.pathsep.join([str(kinds), *filter(None, [os.environ.get("PYTHONPATH")])])
    declared = {"no-drafts": {"kind": "drafts"}}
    settings = {"workers": 2, "inspectors": declared}
    with GatewayProcess(tmp_path, {"rules": []}, settings, {"PYTHONPATH": path}) as gateway:
        deadline = time.monotonic() + 30
        while len(hosts := _hosts_of_inspectors(gateway)) < 2:
            assert time.monotonic() < deadline, "they were not started"
            time.sleep(0.02)
        for host in hosts:
            shared = {link for link in _open_in(host) if link.startswith(("socket:", "/memfd:"))}
            assert len(shared) == 1, shared


def _hosts_of_inspectors(gateway: GatewayProcess) -> list[int]:
    """Process ids of those that have begun to run their own program."""
    pids = []
    for each in psutil.Process(gateway.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # others, such as readers of files, end meanwhile
            if "gateway.intercept.hosted.child" in each.cmdline():
                pids.append(each.pid)
    return pids


def _open_in(pid: int) -> list[str]:
    """What its descriptors stand for; it may be opening and closing files."""
    targets = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(each.readlink()))
    return targets


def _hangs_alone(story: Story, harm: str, why: str) -> None:
    """While it hangs exchanges under another rule go on: none of them waits for it."""
    assert story.ask("harm", f"/{harm}/before")[0] == 200  # its process has started
    path, others = f"/{harm}/hangs", []
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(story.ask, "harm", path, b"", f"X-Harm: {harm}")
        while not hanging.done():
            others.append(story.ask("keys", f"/{harm}/other", b"{}")[0])
        assert hanging.result()[0] == 403
    assert len(others) > 1
    assert set(others) == {200}
    record = story.record(path)
    assert record["reason"] == Reason.INSPECTOR_FAILED
    assert why in record["detail"]
    assert record["total_ms"] < 10_000
    assert story.reached(path) == []
    during = [each["total_ms"] for each in story.gateway.records() if each.get("path") == f"/{harm}/other"]
    assert min(during) < 1000  # whoever waited would have waited for all of it
    assert story.ask("harm", f"/{harm}/after")[0] == 200
    assert story.record(f"/{harm}/after")["annotations"] == {"harm.harm": "none"}


def test_a_websocket_is_refused_where_content_is_read(story: Story) -> None:
    assert _upgraded(story, "keys", "/socket") == 403
    record = story.record("/socket")
    assert (record["reason"], record["detail"]) == (Reason.CONTENT_UNREADABLE, "a WebSocket, for keys")
    assert story.reached("/socket") == []


def test_one_that_passes_unread_is_still_judged_by_the_head_of_its_101(story: Story) -> None:
    assert _upgraded(story, "open", "/switched") == 101
    assert _upgraded(story, "open", "/not-switched", "X-Harm: no-switch") == 403
    record = story.record("/not-switched")
    assert (record["reason"], record["detail"]) == (Reason.INSPECTOR_DENIED, "open: odd")


def _upgraded(story: Story, rule: str, path: str, *fields: str) -> int:
    """The status of the answer to a WebSocket's handshake."""
    asked = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    with story.client(rule) as client:
        client.ask(f"{rule}.test:{story.origin.port}", path, *asked, *fields)
        return status_of(read_response(client)[0])


def _failures(story: Story, inspector: str) -> float:
    found = re.search(rf'egress_inspector_failures_total\{{inspector="{inspector}"\}} (\S+)', story.gateway.metrics())
    return float(found[1]) if found is not None else 0.0


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
