"""Smuggling and framing: what is sent or answered, what reaches the origin, what the client is told, what is recorded.

The origin keeps every request byte for byte. The tables are in `tests/abuse/http/`, and could be run against any proxy.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import bcrypt
import pytest

from tests.abuse.http.case import NAME, Case
from tests.abuse.http.connections import CONNECTIONS
from tests.abuse.http.framing import FRAMING
from tests.abuse.http.heads import HEADS
from tests.abuse.http.judge import Verdict, judge
from tests.abuse.http.responses import RESPONSES
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.naive_proxy import NaiveProxy
from tests.helpers.recording_origin import RecordingOrigin

CASES = (*FRAMING, *HEADS, *CONNECTIONS, *RESPONSES)
NAMES = ("allowed.test", "other.test", "users.test", "denied.test", "forbidden.test")
CAUGHT = 150
"""Of the cases, how many a proxy that passes raw bytes must fail: were it fewer, the judge would be blind."""


@dataclass
class Bed:
    """One gateway with short time-outs, and the origin to which every name leads. A case is judged once."""

    gateway: GatewayProcess
    origin: RecordingOrigin
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    records: defaultdict[int, list[Record]] = field(default_factory=lambda: defaultdict(list))

    def verdict(self, case: Case) -> Verdict:
        if case.name not in self.verdicts:
            self.verdicts[case.name] = judge(case, self.gateway.port, self.origin)
        return self.verdicts[case.name]

    def reasons(self, client_port: int) -> set[str]:
        """Of the connection and its exchanges; the connection's own record comes last."""
        if not any("exchange_id" not in each for each in self.records[client_port]):
            self.gateway.wait_for_records(1, client_port=client_port, exchange_id=None)
            self.records.clear()
            for each in self.gateway.records():
                self.records[each["client_port"]].append(each)
        return {each["reason"] for each in self.records[client_port] if "reason" in each}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("http")
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    with DnsServer() as dns, RecordingOrigin() as origin:
        for name in NAMES:
            dns.answer(name, "127.0.0.1")
        rules = [
            _allow("allowed", origin.port),
            _allow("other", origin.port),
            _allow("users", origin.port, clients=["ci"]),
            {"name": "denied", "hosts": ["denied.test"], "action": "deny"},
        ]
        settings = {
            "addresses": {"allow": ["127.0.0.1/32"]},
            "identity": {"basic": {"htpasswd": str(users)}},
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "telemetry": {"name": NAME, "access_log": [{"path": "records.jsonl", "format": "json"}]},
            "timeouts": {"head": "2s", "idle": "2s", "client_hello": "2s"},
        }
        policy = {"clients": {"ci": {"match": [{"user": "ci"}]}}, "rules": rules}
        with GatewayProcess(folder, policy, settings) as gateway:
            yield Bed(gateway, origin)


def _allow(name: str, port: int, **more: list[str]) -> dict[str, object]:
    return {"name": name, "hosts": [f"{name}.test"], "ports": [port], "protocol": "http", **more}


each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@each_case
def test_nothing_is_smuggled(bed: Bed, case: Case) -> None:
    assert bed.verdict(case).complaints == ()


@each_case
def test_the_record_says_why(bed: Bed, case: Case) -> None:
    assert bed.reasons(bed.verdict(case).client_port) == ({case.reason} if case.reason else set())


def test_every_case_has_its_own_name_and_a_source() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    assert [case.name for case in CASES if not case.source] == []


def test_a_proxy_that_passes_raw_bytes_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    """The planted fault: judged by what reached the origin alone, however the client was answered."""
    with ThreadPoolExecutor(16) as threads:
        caught = list(threads.map(_lets_the_wrong_thing_pass, CASES))
    with capsys.disabled():
        print(f"\n{len(CASES)} cases; a proxy that passes raw bytes lets the wrong thing pass in {sum(caught)} of them")
    assert sum(caught) >= CAUGHT


def _lets_the_wrong_thing_pass(case: Case) -> bool:
    with NaiveProxy() as proxy, RecordingOrigin() as origin:
        complaints = judge(case, proxy.port, origin, seconds=0.5).complaints
    return any(
        each.startswith(("reached", "framing", "field line", "hosts", "Host", "left over")) for each in complaints
    )
