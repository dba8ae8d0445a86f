"""What limits are for: an API that counts every sliding second, and a link that others share."""

import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import Got, HttpOrigin, Talk
from tests.helpers.origins import Origin, Visit, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

MIB = 1 << 20
ALLOWED = 25
REQUESTS = int(os.environ.get("LIMIT_REQUESTS", "200"))
"""A multiple of twenty; `LIMIT_REQUESTS=2000` looks longer, 42 s."""


class SlidingSecond:
    """Answers 429 to whoever makes it more than `ALLOWED` requests in any second."""

    def __init__(self) -> None:
        self.refused = 0
        self._taken: deque[float] = deque()
        self._lock = threading.Lock()

    def __call__(self, talk: Talk, got: Got) -> None:
        with self._lock:
            now = time.monotonic()
            while self._taken and self._taken[0] <= now - 1.0:
                self._taken.popleft()
            accepted = len(self._taken) < ALLOWED
            if accepted:
                self._taken.append(now)
            else:
                self.refused += 1
        talk.reply(b"ok", "200 OK" if accepted else "429 Too Many Requests")


class HeldUp:
    """While it is entered, adds up for how long this process was kept from running, beyond `TICK` each time, and counts
    these times: what comes meanwhile is seen by the API at once and not as it was sent."""

    TICK = 0.02

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        began = time.monotonic()
        while not self._over.wait(self.TICK):
            began, before = time.monotonic(), began
            late = began - before - self.TICK
            if late > self.TICK:
                self.seconds += late
                self.times += 1


def run_clients(folder: Path, policy: dict[str, Any], ports: list[int], requests: int) -> None:
    """Ten clients, each from an address of its own, finish so many requests together, over two rules."""
    with GatewayProcess(folder, json.dumps(policy)) as gateway, ThreadPoolExecutor(10) as threads:

        def ask(number: int) -> None:
            with RawClient(gateway.port, source=f"127.0.1.{number + 1}") as client:
                for _ in range(requests // 10):
                    port = ports[number % 2]
                    client.send(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    assert status_of(client.read_head()) in (200, 429)
                    client.read(2)

        list(threads.map(ask, range(10)))


def policy_for(ports: list[int], limits: list[dict[str, object]]) -> dict[str, Any]:
    """Two rules for two groups, under the same limits."""
    rules: list[dict[str, object]] = [
        {"name": f"r{port}", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "http"} for port in ports
    ]
    for rule, group in zip(rules, ("odd", "even"), strict=True):
        if limits:
            rule |= {"limits": limits}
        rule |= {"clients": [group]}
    return {
        "clients": {
            "odd": {"match": [{"cidr": f"127.0.1.{number}/32"} for number in range(1, 11, 2)]},
            "even": {"match": [{"cidr": f"127.0.1.{number}/32"} for number in range(2, 11, 2)]},
        },
        "quotas": {"api": {"requests": "24/s", "burst": 1, "on_limit": "queue", "max_wait": "60s"}},
        "rules": rules,
    }


def test_a_quota_keeps_an_api_from_ever_answering_429(tmp_path: Path) -> None:
    api, requests = SlidingSecond(), REQUESTS // 2  # of which each takes its time
    with HttpOrigin({"/": api}) as one, HttpOrigin({"/": api}) as other, HeldUp() as held_up:
        ports = [one.port, other.port]
        started = time.monotonic()
        run_clients(tmp_path, policy_for(ports, [{"use": "api"}]), ports, requests)
    assert len(one.requests) + len(other.requests) == requests
    assert api.refused <= 24 * held_up.seconds + held_up.times, held_up.seconds  # a part of a request comes whole
    assert time.monotonic() - started >= (requests - 1) / 24


def test_without_the_quota_it_does_answer_429(tmp_path: Path) -> None:
    api = SlidingSecond()
    with HttpOrigin({"/": api}) as one, HttpOrigin({"/": api}) as other:
        ports = [one.port, other.port]
        run_clients(tmp_path, policy_for(ports, []), ports, REQUESTS)
    assert api.refused > REQUESTS // 2


def pour(connection: socket.socket, visit: Visit) -> None:
    """As much as the other side takes."""
    data = bytes(256 * 1024)
    try:
        while True:
            connection.sendall(data)
    except OSError:
        return


def test_bandwidth_holds_for_spliced_tunnels_together_and_for_no_others(tmp_path: Path) -> None:
    """20 MiB/s on a rule with 8 tunnels; a tunnel of another rule goes as fast as it can."""
    with Origin(pour) as bounded, Origin(pour) as free, ExitStack() as stack:
        rule = {"cidrs": ["127.0.0.1/32"], "protocol": "tcp"}
        limits = [{"bandwidth": "20MiB/s", "burst": "1MiB", "direction": "down"}]
        rules = [
            {"name": "bounded", "ports": [bounded.port], "limits": limits, **rule},
            {"name": "free", "ports": [free.port], **rule},
        ]
        gateway = stack.enter_context(GatewayProcess(tmp_path, json.dumps({"rules": rules})))
        counts = [0] * 9
        over = threading.Event()

        def take(place: int, port: int) -> None:
            with RawClient(gateway.port) as client:
                assert status_of(client.connect(f"127.0.0.1:{port}")) == 200
                buffer = bytearray(256 * 1024)
                while not over.is_set():
                    counts[place] += client.socket.recv_into(buffer)

        with ThreadPoolExecutor(9) as threads:
            for place in range(8):
                threads.submit(take, place, bounded.port)
            time.sleep(1.0)
            before, begin = list(counts), time.monotonic()
            threads.submit(take, 8, free.port)
            time.sleep(4.0)
            after, seconds = list(counts), time.monotonic() - begin
            over.set()
    rate = sum(end - start for end, start in zip(after[:8], before[:8], strict=True)) / seconds / MIB
    assert 19 <= rate <= 21.5, rate
    assert all(end > start for end, start in zip(after[:8], before[:8], strict=True))
    assert (after[8] - before[8]) / seconds / MIB > 40


MUCH, LAST = 48 * 1024, 1024


def _pause_before_the_last(send: Callable[[bytes], None]) -> None:
    """Much, which is made up for in three seconds, and what is only read afterwards."""
    send(bytes(MUCH))
    time.sleep(0.3)
    send(bytes(LAST))


def _answer_at_length(talk: Talk, got: Got) -> None:
    talk.send(f"HTTP/1.1 200 OK\r\nContent-Length: {MUCH + LAST}\r\n\r\n".encode())
    _pause_before_the_last(talk.send)


@pytest.mark.parametrize("kind", ["tunnel", "response", "upload"])
def test_who_is_slowed_down_is_not_idle_meanwhile(tmp_path: Path, kind: str) -> None:
    with Origin(echo) as echoing, HttpOrigin({"/long": _answer_at_length}) as http:
        origin = echoing if kind == "tunnel" else http
        rule = {"cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp" if kind == "tunnel" else "http"}
        direction = "down" if kind == "response" else "up"
        limits = [{"bandwidth": "16KiB/s", "burst": "1KiB", "direction": direction}]
        rule |= {"name": "slow", "timeouts": {"idle": "500ms"}, "limits": limits}
        with GatewayProcess(tmp_path, json.dumps({"rules": [rule]})) as gateway, RawClient(gateway.port) as client:
            place = f"127.0.0.1:{origin.port}"
            assert status_of(client.connect(place)) == 200
            if kind == "tunnel":
                _pause_before_the_last(client.send)
                assert len(client.read(MUCH + LAST)) == MUCH + LAST
            elif kind == "response":
                client.send(f"GET /long HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
                assert len(read_response(client)[1]) == MUCH + LAST
            else:
                client.send(f"POST / HTTP/1.1\r\nHost: {place}\r\nContent-Length: {MUCH + LAST}\r\n\r\n".encode())
                _pause_before_the_last(client.send)
                assert status_of(read_response(client)[0]) == 200
