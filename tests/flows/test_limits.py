"""Stories of limits on real sockets: who is let through, who waits, who is told to come again, and what records say."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter

import pytest

from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import Got, HttpOrigin, Talk
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

MIB = 1 << 20
LATE = 5.0
"""Seconds by which whoever waits for one or less comes through, on a busy machine. That nobody waits for longer than
needs be is shown without clients and sockets, in tests/limits."""

REASONS = {
    Reason.LIMIT_EXCEEDED,
    Reason.LIMIT_WAIT_EXCEEDED,
    Reason.BUDGET_SPENT,
    Reason.DESTINATION_ASKED_TO_WAIT,
    Reason.DESTINATION_UNAVAILABLE,
}
"""What the flows here read from records."""


@dataclass
class Bed:
    dns: DnsServer
    echo: Origin
    http: HttpOrigin
    gateway: GatewayProcess

    def connect(self, name: str) -> tuple[RawClient, bytes]:
        """A CONNECT to the echoing origin under that name, and the head of its answer."""
        client = RawClient(self.gateway.port)
        return client, client.connect(f"{name}.test:{self.echo.port}")

    def statuses(self, name: str, times: int) -> list[int]:
        """Of so many CONNECTs, one after the other, each closed before the next."""
        found = []
        for _ in range(times):
            client, head = self.connect(name)
            with client:
                found.append(status_of(head))
        return found

    def get(self, client: RawClient, name: str, path: str = "/") -> bytes:
        """The head of the answer to a request in absolute form; its content is read."""
        client.send(f"GET http://{name}.test:{self.http.port}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = client.read_head()
        length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")))
        client.read(length)
        return head


def _answer(talk: Talk, got: Got) -> None:
    talk.reply(b"x" * 2000)


def _ask_to_wait(talk: Talk, got: Got) -> None:
    talk.reply(b"later", "503 Service Unavailable", "Retry-After: 2")


def _be_out_of_order(talk: Talk, got: Got) -> None:
    talk.reply(b"out of order", "503 Service Unavailable")


def _say_nothing(talk: Talk, got: Got) -> None:
    while talk.read_some():
        pass


TUNNELS: dict[str, list[dict[str, object]]] = {
    "rate": [{"connections": "1/m", "burst": 2}],
    "held": [{"concurrent": 1}],
    "shadow": [{"connections": "1/m", "burst": 1, "mode": "report"}],
    "queue": [{"connections": "20/s", "on_limit": "queue", "max_wait": "3s"}],
    "short": [{"concurrent": 1, "on_limit": "queue", "max_wait": "300ms"}],
    "turns": [{"concurrent": 1, "on_limit": "queue", "max_wait": "5s"}],
    "bytes": [{"bytes": "64KiB/day", "direction": "up"}],
    "spends": [{"bytes": "1KiB/day", "mode": "report"}],
    "slow": [{"bandwidth": "1MiB/s", "burst": "64KiB", "direction": "down"}],
    "own": [{"connections": "1/m", "burst": 1, "key": ["client"]}],
    "both": [{"concurrent": 2}, {"use": "shared"}],
    "other": [{"use": "shared"}],
}
REQUESTS: dict[str, list[dict[str, object]]] = {
    "http-rate": [{"requests": "1/m", "burst": 2}],
    "http-connections": [{"connections": "1/m", "burst": 1}],
    "http-bytes": [{"bytes": "3000B/day"}],
    "http-slow": [{"bandwidth": "20KiB/s", "burst": "1KiB"}],
    "http-patient": [{"requests": "1000/s"}],
    "http-queue": [{"requests": "20/s", "on_limit": "queue"}],
    "http-breaker": [{"requests": "1000/s"}],
    "http-mute": [{"requests": "1000/s"}],
}
BREAKING = ("http-breaker", "http-mute")
BREAKER = {"failures": 2, "window": "60s", "open": "60s"}


HTTP = {"/": _answer, "/later": _ask_to_wait, "/broken": _be_out_of_order, "/silent": _say_nothing}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("limits")
    with DnsServer() as dns, Origin(echo) as echoing, HttpOrigin(HTTP) as http:
        for name in (*TUNNELS, *REQUESTS, "breaker"):
            dns.answer(f"{name}.test", "127.0.0.1")
        tunnels: list[dict[str, object]] = [
            {"name": name, "hosts": [f"{name}.test"], "ports": [echoing.port], "protocol": "tcp", "limits": limits}
            for name, limits in TUNNELS.items()
        ]
        requests = [
            {
                "name": name,
                "hosts": [f"{name}.test"],
                "ports": [http.port],
                "protocol": "http",
                "limits": limits,
                "honour_retry_after": name == "http-patient",
                **({"breaker": dict(BREAKER), "timeouts": {"idle": "500ms"}} if name in BREAKING else {}),
            }
            for name, limits in REQUESTS.items()
        ]
        nowhere: dict[str, object] = {"name": "breaker", "hosts": ["breaker.test"], "ports": [1], "protocol": "tcp"}
        tunnels.append(nowhere | {"breaker": dict(BREAKER)})
        policy = {"quotas": {"shared": {"connections": "1/m", "burst": 2}}, "rules": tunnels + requests}
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"]}}
        with GatewayProcess(folder, policy, settings) as gateway:
            yield Bed(dns, echoing, http, gateway)


def test_over_a_rate_a_client_is_told_when_to_come_again_and_nothing_leaves(bed: Bed) -> None:
    visits = bed.echo.settled()
    assert bed.statuses("rate", 2) == [200, 200]
    assert bed.echo.settled() == visits + 2
    left = len(bed.dns.queries), bed.echo.settled()
    client, head = bed.connect("rate")
    with client:
        assert status_of(head) == 429
    assert (len(bed.dns.queries), bed.echo.settled()) == left
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    assert 50 <= int(fields["Retry-After"]) <= 60
    assert fields["RateLimit-Policy"] == '"connections";q=1;w=60'
    assert fields["RateLimit"] == f'"connections";r=0;t={fields["Retry-After"]}'
    assert fields["Proxy-Status"].endswith("; error=http_request_error; status-code=429")
    (record,) = bed.gateway.wait_for_records(1, host="rate.test", status=429)
    assert (record["reason"], record["decision"], record["ended"]) == (Reason.LIMIT_EXCEEDED, "deny", "refused")
    assert record["rule"] == "policy.yaml#rate"
    assert record["detail"] == "policy.yaml#rate.connections"


def test_what_is_held_is_given_back_when_the_tunnel_ends(bed: Bed) -> None:
    first, head = bed.connect("held")
    with first:
        assert status_of(head) == 200
        assert bed.statuses("held", 2) == [429, 429]
    bed.gateway.wait_for_records(1, host="held.test", status=200)
    assert bed.statuses("held", 1) == [200]


def test_a_limit_in_report_mode_refuses_nobody_and_says_what_it_would_have_done(bed: Bed) -> None:
    assert bed.statuses("shadow", 3) == [200, 200, 200]
    records = bed.gateway.wait_for_records(3, host="shadow.test")  # in the order of their ends
    limited = [record.get("would_limit") for record in sorted(records, key=itemgetter("time"))]
    assert limited == [None, *["policy.yaml#shadow.connections"] * 2]
    metrics = bed.gateway.metrics()
    assert 'egress_limit_results_total{limit="policy.yaml#shadow.connections",result="would_refuse"} 2.0' in metrics


def test_a_budget_in_report_mode_is_named_by_the_tunnel_that_spends_it(bed: Bed) -> None:
    for size in (200, 2000):
        client, head = bed.connect("spends")
        with client:
            assert status_of(head) == 200
            client.send(bytes(size))
            assert client.read(size) == bytes(size)
    records = bed.gateway.wait_for_records(2, host="spends.test")
    limited = [record.get("would_limit") for record in sorted(records, key=itemgetter("time"))]
    assert limited == [None, "policy.yaml#spends.bytes"]


def test_in_a_queue_everyone_comes_through_at_the_rate(bed: Bed) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: bed.statuses("queue", 1), range(13)))
    assert outcomes == [[200]] * 13
    assert 0.6 <= time.monotonic() - started < LATE


def test_who_waited_for_as_long_as_one_may_is_refused(bed: Bed) -> None:
    holder, head = bed.connect("short")
    with holder:
        assert status_of(head) == 200
        visits, started = bed.echo.settled(), time.monotonic()
        waiting, head = bed.connect("short")
        with waiting:
            assert status_of(head) == 429
        assert 0.29 <= time.monotonic() - started < LATE
        assert bed.echo.settled() == visits
    (record,) = bed.gateway.wait_for_records(1, host="short.test", status=429)
    assert record["reason"] == Reason.LIMIT_WAIT_EXCEEDED


def test_who_leaves_the_queue_takes_nothing_and_its_place_is_the_next_ones(bed: Bed) -> None:
    holder, _ = bed.connect("turns")
    leaver, stayer = RawClient(bed.gateway.port), RawClient(bed.gateway.port)
    ask = f"CONNECT turns.test:{bed.echo.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    leaver.send(ask)
    _until(lambda: bed.gateway.metric("egress_limit_waiting") == 1)
    stayer.send(ask)
    _until(lambda: bed.gateway.metric("egress_limit_waiting") == 2)
    leaver.socket.close()
    (record,) = bed.gateway.wait_for_records(1, host="turns.test", reason=Reason.CLIENT_CLOSED)
    assert "dialled_address" not in record
    holder.socket.close()
    with stayer:
        assert status_of(stayer.read_head()) == 200


def test_a_spent_budget_ends_open_tunnels_and_refuses_new_ones(bed: Bed) -> None:
    client, head = bed.connect("bytes")
    with client:
        assert status_of(head) == 200
        client.send(b"a" * 50_000)
        assert len(client.read(50_000)) == 50_000
        client.send(b"b" * 20_000)
        with pytest.raises(ConnectionError):
            _talk_on(client)
    (record,) = bed.gateway.wait_for_records(1, host="bytes.test")
    assert (record["reason"], record["ended"], record["ended_by"]) == (Reason.BUDGET_SPENT, "reset", "gateway")
    visits = bed.echo.settled()
    refused, head = bed.connect("bytes")
    with refused:
        assert status_of(head) == 429
        assert b'RateLimit-Policy: "bytes";q=65536;qu="content-bytes";w=86400\r\n' in head
    assert bed.echo.settled() == visits


def test_bandwidth_slows_the_direction_that_it_bounds(bed: Bed) -> None:
    client, _ = bed.connect("slow")
    with client:
        payload, started = b"d" * MIB, time.monotonic()
        client.socket.setblocking(True)
        with ThreadPoolExecutor(1) as thread:
            sending = thread.submit(client.send, payload)
            received = client.read(MIB)
            sending.result()
    assert received == payload
    assert 0.85 <= time.monotonic() - started < LATE


def test_each_client_has_a_bucket_of_its_own_where_the_key_says_so(bed: Bed) -> None:
    statuses = []
    for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
        with RawClient(bed.gateway.port, source=source) as client:
            statuses.append(status_of(client.connect(f"own.test:{bed.echo.port}")))
    assert statuses == [200, 429, 200]


def test_a_quota_is_shared_and_if_one_limit_refuses_no_other_is_spent(bed: Bed) -> None:
    first, head = bed.connect("both")
    second, again = bed.connect("both")
    assert (status_of(head), status_of(again)) == (200, 200)
    third, refused = bed.connect("both")
    assert b'"concurrent"' in refused or b'"connections"' in refused
    assert bed.statuses("other", 1) == [429]
    for client in (first, second, third):
        client.socket.close()


def test_requests_are_counted_one_by_one_and_the_connection_of_a_refused_one_stays_open(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert [status_of(bed.get(client, "http-rate")) for _ in range(3)] == [200, 200, 429]
        requests = len(bed.http.requests)
        assert status_of(bed.get(client, "http-rate")) == 429
        assert len(bed.http.requests) == requests
    records = [r for r in bed.gateway.wait_for_records(4, host="http-rate.test") if "exchange_id" in r]
    assert [record.get("reason") for record in records] == [None, None, *[Reason.LIMIT_EXCEEDED] * 2]


def test_a_kept_connection_is_no_new_one(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert [status_of(bed.get(client, "http-connections")) for _ in range(3)] == [200, 200, 200]


def test_bytes_of_exchanges_are_spent_too(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert [status_of(bed.get(client, "http-bytes")) for _ in range(2)] == [200, 200]
        assert status_of(bed.get(client, "http-bytes")) == 429


def test_small_exchanges_pay_together_what_they_move(bed: Bed) -> None:
    started = time.monotonic()
    with RawClient(bed.gateway.port) as client:
        for _ in range(10):
            assert status_of(bed.get(client, "http-slow")) == 200
    assert 0.7 <= time.monotonic() - started < LATE


def test_requests_wait_for_their_turn(bed: Bed) -> None:
    started = time.monotonic()
    with RawClient(bed.gateway.port) as client:
        assert [status_of(bed.get(client, "http-queue")) for _ in range(9)] == [200] * 9
    assert 0.4 <= time.monotonic() - started < LATE


def test_a_destination_that_asks_for_patience_gets_it(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert status_of(bed.get(client, "http-patient")) == 200
        assert b"\r\nRetry-After: 2\r\n" in bed.get(client, "http-patient", "/later")
        requests = len(bed.http.requests)
        head = bed.get(client, "http-patient")
        assert status_of(head) == 429
        assert b"\r\nRetry-After: 2\r\n" in head or b"\r\nRetry-After: 1\r\n" in head
        assert b"RateLimit" not in head
        assert len(bed.http.requests) == requests
        time.sleep(2.0)
        assert status_of(bed.get(client, "http-patient")) == 200
    records = bed.gateway.wait_for_records(1, host="http-patient.test", status=429)
    assert records[0]["reason"] == Reason.DESTINATION_ASKED_TO_WAIT


def test_a_destination_that_fails_is_left_alone(bed: Bed) -> None:
    heads = []
    for _ in range(3):
        with RawClient(bed.gateway.port) as client:
            heads.append(client.connect("breaker.test:1"))
    assert [status_of(head) for head in heads] == [502, 502, 503]
    assert b"; error=destination_unavailable\r\n" in heads[2]
    assert b"\r\nRetry-After: 60\r\n" in heads[2] or b"\r\nRetry-After: 59\r\n" in heads[2]
    (record,) = bed.gateway.wait_for_records(1, host="breaker.test", status=503)
    assert (record["reason"], record["decision"]) == (Reason.DESTINATION_UNAVAILABLE, "allow")
    assert "dialled_address" not in record


def test_a_destination_that_answers_that_it_is_out_of_order_is_left_alone_as_well(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        statuses = [status_of(bed.get(client, "http-breaker", path)) for path in ("/", "/broken", "/broken")]
        requests = len(bed.http.requests)
        head = bed.get(client, "http-breaker")
    assert statuses == [200, 503, 503]
    assert status_of(head) == 503
    assert b"; error=destination_unavailable\r\n" in head
    assert len(bed.http.requests) == requests
    record, *_ = bed.gateway.wait_for_records(1, host="http-breaker.test", reason=Reason.DESTINATION_UNAVAILABLE)
    assert (record["status"], record["decision"]) == (503, "allow")


def test_a_destination_that_answers_nothing_in_tunnels_is_left_alone_as_well(bed: Bed) -> None:
    """Each request goes over the connection that was dialled for its tunnel."""
    statuses = []
    for _ in range(3):
        with RawClient(bed.gateway.port) as client:
            statuses.append(status_of(client.connect(f"http-mute.test:{bed.http.port}")))
            if statuses[-1] == 200:
                client.send(b"POST /silent HTTP/1.1\r\nHost: http-mute.test:%d\r\n" % bed.http.port)
                client.send(b"Content-Length: 0\r\n\r\n")
                statuses.append(status_of(client.read_head()))
    assert statuses == [200, 504, 200, 504, 503]


def _talk_on(client: RawClient) -> None:
    while client.socket.recv(65536):
        client.send(b"c" * 1000)
        time.sleep(0.01)


def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_operators_see_how_full_limits_are_and_whom_they_refused(bed: Bed) -> None:
    assert bed.statuses("rate", 1) in ([200], [429])
    assert bed.statuses("rate", 3)[-1] == 429
    holder, head = bed.connect("held")
    with holder:
        assert status_of(head) == 200
        assert bed.statuses("held", 1) == [429]
        status, body = bed.gateway.admin("/limits")
    assert status == 200
    found = {fill["limit"]: fill for fill in json.loads(body)["limits"]}
    spent, held = found["policy.yaml#rate.connections"], found["policy.yaml#held.concurrent"]
    assert (spent["counts"], spent["key"], spent["burst"], spent["report"]) == ("connections", [], 2.0, False)
    assert spent["used"] > 0.9
    assert spent["refused"] >= 2
    assert (held["left"], held["used"]) == (0.0, 1.0)
    _until(lambda: _fill(bed, "held.concurrent")["left"] == 1.0)
    assert _fill(bed, "held.concurrent")["refused"] >= held["refused"] >= 1


def _fill(bed: Bed, limit: str) -> dict[str, float]:
    """Of that limit, as operators see it."""
    (fill,) = [each for each in json.loads(bed.gateway.admin("/limits")[1])["limits"] if each["limit"].endswith(limit)]
    assert isinstance(fill, dict)
    return fill
