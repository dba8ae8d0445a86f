"""Every reason, by a real flow: what the client saw, what left the gateway, and what the record says.

The last test counts the reasons in the records that these flows wrote: none may be missing.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import bcrypt
import pytest

from gateway.model.reasons import Reason
from tests.flows import (
    entrances,
    test_bad_destinations,
    test_client_certificates,
    test_http2_malformed,
    test_inspected_requests,
    test_inspectors,
    test_interception,
    test_limits,
    test_limits_over_processes,
    test_request_reasons,
    test_secrets,
    test_tokens,
)
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer, Fault
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.origins import RESET, Origin, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import require, require_root

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
DECODE_ERROR = bytes((21, 3, 3, 0, 2, 2, 50))
PASSWORD = "correct-horse"

produced: set[str] = set()
"""Reasons that stood in a record of this module's flows."""


class Left(Enum):
    """What may have left the gateway by the time of a refusal."""

    NOTHING = auto()  # refused before the dial: no DNS query, no connection
    QUERY = auto()  # refused by the address guard, or not reached: no connection
    CONNECTION = auto()  # refused after the 200: the origin read nothing
    BYTES = auto()  # not a refusal: the tunnel stood


@dataclass
class Bed:
    """One gateway, one DNS server, one origin that echoes."""

    dns: DnsServer
    origin: Origin
    gateway: GatewayProcess
    full: socket.socket

    def client(self) -> RawClient:
        """A fresh connection to the proxy."""
        return RawClient(self.gateway.port)

    def at(self, host: str) -> str:
        """The origin under that name."""
        return f"{host}:{self.origin.port}"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("reasons")
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    with DnsServer() as dns, Origin(echo) as origin, _full_listener() as full:
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "500ms"},
            "identity": {"basic": {"htpasswd": str(users)}},
            "timeouts": {"head": "1s", "client_hello": "1s", "dns": "1s", "connect": "1s"},
            "drain": {"timeout": "1s"},
        }
        with GatewayProcess(folder, _policy(origin.port, full.getsockname()[1]), settings) as gateway:
            _fill(dns)
            yield Bed(dns, origin, gateway, full)


def _policy(port: int, full_port: int) -> dict[str, object]:
    def rule(name: str, **keys: object) -> dict[str, object]:
        return {"name": name, "hosts": [f"{name}.test"], "ports": [port], "protocol": "tls", **keys}

    return {
        "clients": {"ci": {"match": [{"user": "ci"}]}},
        "rules": [
            rule("tls"),
            rule("tcp", protocol="tcp"),
            rule("auto", protocol="auto"),
            rule("ech", ech="deny"),
            rule("users", clients=["ci"]),
            rule("idle", protocol="tcp", timeouts={"idle": "1s"}),
            rule("life", protocol="tcp", timeouts={"lifetime": "1s"}),
            rule("loop", hosts=["loop.test"], ports="any", protocol="tcp"),
            rule("full", ports=[full_port], protocol="tcp"),
            rule("closed", ports=[1], protocol="tcp"),
            rule("source", source="192.0.2.1"),
            rule("dns", hosts=["nx.test", "empty.test", "broken.test", "silent.test", "inside.test"]),
            {"name": "no", "hosts": [".denied.test"], "action": "deny"},
        ],
    }


def _fill(dns: DnsServer) -> None:
    for name in ("tls", "tcp", "auto", "ech", "users", "idle", "life", "full", "closed", "loop", "source"):
        dns.answer(f"{name}.test", "127.0.0.1")
    dns.answer("empty.test")
    dns.answer("inside.test", "10.1.2.3", "169.254.169.254")
    dns.answer("silent.test", "127.0.0.1")
    dns.spoil("silent.test", Fault.SILENCE)
    dns.fail("broken.test", "SERVFAIL")


@contextlib.contextmanager
def _full_listener() -> Iterator[socket.socket]:
    """A listener whose queue is full: a further SYN gets no answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener


def _sends(data: bytes, status: int) -> Callable[[Bed], None]:
    """The client sends this and is answered with that status, in words."""

    def act(bed: Bed) -> None:
        with bed.client() as client:
            client.send(data)
            answer = client.read_to_end()
        assert status_of(answer) == status, answer
        assert b"Proxy-Status: " in answer
        assert b"X-Egress-Request-Id: " in answer

    return act


def _connects(host: str, status: int, *headers: str) -> Callable[[Bed], None]:
    """A CONNECT to the origin under that name is answered with that status."""

    def act(bed: Bed) -> None:
        with bed.client() as client:
            answer = client.connect(host if ":" in host else bed.at(host), *headers)
        assert status_of(answer) == status, answer

    return act


def _says(host: str, opening: bytes, alert: bytes | None) -> Callable[[Bed], None]:
    """After the 200 the client says that, and gets that alert; None is a reset."""

    def act(bed: Bed) -> None:
        with bed.client() as client:
            assert status_of(client.connect(bed.at(host))) == 200
            client.send(opening)
            if alert is None:
                with pytest.raises(ConnectionResetError):
                    client.read_to_end()
            else:
                assert client.read_to_end() == alert

    return act


def _basic(user: str, password: str) -> str:
    return f"Proxy-Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _hello(name: str | None, ech: bool = False) -> bytes:
    return build_client_hello(server_name=name, ech=ech)


def _closes_early(bed: Bed) -> None:
    with bed.client() as client:
        client.send(b"CONNECT tls.te")
        client.finish()
        assert client.read_to_end() == b""


def _loops(bed: Bed) -> None:
    with bed.client() as client:
        assert status_of(client.connect(f"loop.test:{bed.gateway.port}")) == 502


def _reaches_full(bed: Bed) -> None:
    with bed.client() as client:
        assert status_of(client.connect(f"full.test:{bed.full.getsockname()[1]}")) == 504


def _resets(bed: Bed) -> None:
    with bed.client() as client:
        assert status_of(client.connect(bed.at("tcp.test"))) == 200
        client.send(b"ping")
        assert client.read(4) == b"ping"
        client.reset()


def _origin_resets(bed: Bed) -> None:
    with bed.client() as client:
        assert status_of(client.connect(bed.at("tcp.test"))) == 200
        client.send(b"ping")
        assert client.read(4) == b"ping"
        client.send(RESET)
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


def _stays(host: str) -> Callable[[Bed], None]:
    """A tunnel that stands until the gateway ends it."""

    def act(bed: Bed) -> None:
        with bed.client() as client:
            assert status_of(client.connect(bed.at(host))) == 200
            client.send(b"ping")
            assert client.read(4) == b"ping"
            with contextlib.suppress(ConnectionResetError):
                assert client.read_to_end() == b""

    return act


@dataclass(frozen=True)
class Story:
    """`act` plays the client and asserts what it saw."""

    reason: Reason
    act: Callable[[Bed], None]
    left: Left
    decision: str


STORIES = [
    Story(Reason.MALFORMED_REQUEST, _sends(b"CONNECT tls.test:1 HTTP/1.1\nHost: x\n\n", 400), Left.NOTHING, "none"),
    Story(Reason.MALFORMED_AUTHORITY, _connects("127.1:443", 400), Left.NOTHING, "none"),
    Story(Reason.NOT_A_PROXY_REQUEST, _sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400), Left.NOTHING, "none"),
    Story(Reason.TLS_ON_PLAIN_PORT, _sends(_hello("tls.test"), 400), Left.NOTHING, "none"),
    Story(Reason.HEAD_TOO_LARGE, _sends(b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 70_000, 431), Left.NOTHING, "none"),
    Story(Reason.HEAD_TIMEOUT, _sends(b"CONNECT tls.test:1 HT", 408), Left.NOTHING, "none"),
    Story(Reason.CLIENT_CLOSED, _closes_early, Left.NOTHING, "none"),
    Story(Reason.CLIENT_SILENT, _says("tls.test", b"", None), Left.CONNECTION, "allow"),
    Story(
        Reason.CLIENT_HELLO_TIMEOUT,
        _says("tls.test", _hello("tls.test")[:100], ACCESS_DENIED),
        Left.CONNECTION,
        "allow",
    ),
    Story(
        Reason.MALFORMED_CLIENT_HELLO,
        _says("tls.test", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", DECODE_ERROR),
        Left.CONNECTION,
        "allow",
    ),
    Story(
        Reason.CLIENT_HELLO_TOO_LARGE,
        _says("tls.test", b"\x16\x03\x01\x00\x05\x01\x02\x00\x00\x03", DECODE_ERROR),
        Left.CONNECTION,
        "allow",
    ),
    Story(Reason.NO_RULE, _connects("unlisted.test", 403), Left.NOTHING, "deny"),
    Story(Reason.DENIED_BY_RULE, _connects("www.denied.test:8443", 403), Left.NOTHING, "deny"),
    Story(
        Reason.PROTOCOL_MISMATCH,
        _says("tls.test", b"SSH-2.0-OpenSSH_9.2\r\n", None),
        Left.CONNECTION,
        "deny",
    ),
    Story(Reason.IN_CLUSTER_NAME, _connects("api.svc.cluster.local:443", 403), Left.NOTHING, "deny"),
    Story(Reason.ADDRESS_REFUSED, _connects("inside.test", 403), Left.QUERY, "deny"),
    Story(Reason.SNI_MISSING, _says("tls.test", _hello(None), ACCESS_DENIED), Left.CONNECTION, "deny"),
    Story(Reason.SNI_MISMATCH, _says("tls.test", _hello("tcp.test"), ACCESS_DENIED), Left.CONNECTION, "deny"),
    Story(Reason.SNI_DENIED, _says("tls.test", _hello("x.denied.test"), ACCESS_DENIED), Left.CONNECTION, "deny"),
    Story(Reason.ECH_DENIED, _says("ech.test", _hello("ech.test", ech=True), ACCESS_DENIED), Left.CONNECTION, "deny"),
    Story(Reason.CREDENTIALS_MISSING, _connects("users.test", 407), Left.NOTHING, "deny"),
    Story(Reason.CREDENTIALS_INVALID, _connects("users.test", 407, _basic("ci", "wrong-horse")), Left.NOTHING, "none"),
    Story(Reason.DNS_NAME_NOT_FOUND, _connects("nx.test", 502), Left.QUERY, "allow"),
    Story(Reason.DNS_NO_ADDRESS, _connects("empty.test", 502), Left.QUERY, "allow"),
    Story(Reason.DNS_FAILURE, _connects("broken.test", 502), Left.QUERY, "allow"),
    Story(Reason.DNS_TIMEOUT, _connects("silent.test", 504), Left.QUERY, "allow"),
    Story(Reason.PROXY_LOOP, _loops, Left.QUERY, "allow"),
    Story(Reason.CONNECTION_REFUSED, _connects("closed.test:1", 502), Left.QUERY, "allow"),
    Story(Reason.SOURCE_UNAVAILABLE, _connects("source.test", 502), Left.QUERY, "allow"),
    Story(Reason.CONNECTION_TIMEOUT, _reaches_full, Left.QUERY, "allow"),
    Story(Reason.DOWNSTREAM_RESET, _resets, Left.BYTES, "allow"),
    Story(Reason.UPSTREAM_RESET, _origin_resets, Left.BYTES, "allow"),
    Story(Reason.IDLE_TIMEOUT, _stays("idle.test"), Left.BYTES, "allow"),
    Story(Reason.LIFETIME_REACHED, _stays("life.test"), Left.BYTES, "allow"),
]


@pytest.mark.parametrize("story", STORIES, ids=[f"{index}-{story.reason}" for index, story in enumerate(STORIES)])
def test_a_refusal_is_told_contained_and_recorded(bed: Bed, story: Story) -> None:
    seen, queries = len(bed.gateway.records()), len(bed.dns.queries)
    visits, received = bed.origin.settled(), len(bed.origin.received)
    story.act(bed)
    [record] = bed.gateway.wait_for_records(seen + 1)[seen:]
    produced.add(record["reason"])
    assert (record["reason"], record["decision"]) == (story.reason, story.decision), record
    if story.left is Left.NOTHING:
        assert len(bed.dns.queries) == queries
    if story.left in (Left.NOTHING, Left.QUERY):
        assert bed.origin.settled() == visits
    if story.left is not Left.BYTES:
        assert len(bed.origin.received) == received
        assert (record["bytes_up"], record["bytes_down"]) == (0, 0)


def test_a_tunnel_that_outlives_the_drain_is_cut_off_and_recorded(tmp_path: Path) -> None:
    with Origin(echo) as origin:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
        with GatewayProcess(tmp_path, policy, {"drain": {"timeout": "3s"}}) as gateway:
            with RawClient(gateway.port) as client, RawClient(gateway.port) as late:
                assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200
                gateway.terminate()
                gateway.wait_for_line("draining ")
                assert status_of(late.connect(f"127.0.0.1:{origin.port}")) == 503
                with pytest.raises(ConnectionResetError):
                    client.read_to_end()
            assert gateway.stop() == 0
        records = gateway.wait_for_records(2)
    assert [record["reason"] for record in records] == [Reason.DRAINING] * 2
    produced.add(Reason.DRAINING)


def test_running_out_of_descriptors_is_told_and_recorded(tmp_path: Path) -> None:
    with Origin(echo) as origin, contextlib.ExitStack() as stack:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
        few = [require("prlimit"), "--nofile=64:64"]
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, {"bounds": {"tunnels": 1000}}, prefix=few))
        tunnels = []
        while True:
            client = stack.enter_context(RawClient(gateway.port))
            try:
                head = client.connect(f"127.0.0.1:{origin.port}")
            except ConnectionResetError:
                head = b""
            if b" 200 " not in head:
                break
            tunnels.append(client)
        if not head:  # no descriptor was left to accept it with: free two, and take one of them
            tunnels[-1].socket.close()
            gateway.wait_for_records(1, decision="allow")
            stack.enter_context(RawClient(gateway.port))
        with RawClient(gateway.port) as client:
            assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 503
        gateway.wait_for_records(1, reason=Reason.DESCRIPTORS_EXHAUSTED)
    produced.add(Reason.DESCRIPTORS_EXHAUSTED)


def test_whoever_does_not_fit_in_is_told_at_once_and_open_tunnels_go_on_until_somebody_ends_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text(PASSWORD)
    settings: dict[str, object] = {
        "admin": {"bind": "127.0.0.1:0", "token_file": "token"},
        "on_reload": "close",
        "bounds": {"tunnels": 3, "tunnels_per_client": 2},
    }
    token = {"Authorization": f"Bearer {PASSWORD}"}
    with Origin(echo) as origin, contextlib.ExitStack() as stack:
        target = f"127.0.0.1:{origin.port}"
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, settings))

        def connect(source: str) -> tuple[RawClient, bytes]:
            client = stack.enter_context(RawClient(gateway.port, source=source))
            return client, client.connect(target)

        def refused(source: str, reason: Reason) -> None:
            visits = origin.settled()
            _, head = connect(source)
            assert status_of(head) == 503
            assert b"Retry-After: " in head
            [record] = gateway.wait_for_records(1, reason=reason)
            assert (record["decision"], record["status"], record["ended"]) == ("none", 503, "failed")
            assert origin.settled() == visits
            produced.add(reason)

        tunnels = [connect(source) for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
        assert [status_of(head) for _, head in tunnels] == [200] * 3
        while origin.settled() < 3:  # the origin's own thread notes them
            time.sleep(0.01)
        refused("127.0.0.3", Reason.TOO_MANY_TUNNELS)

        gateway.write_settings({**settings, "bounds": {"tunnels_per_client": 2}})
        becomes_generation(gateway, 2)
        refused("127.0.0.1", Reason.TOO_MANY_TUNNELS_OF_CLIENT)

        listed = json.loads(gateway.admin("/tunnels", headers=token)[1])["tunnels"]
        assert [tunnel["client"] for tunnel in listed] == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
        closing = f"/tunnels/{listed[0]['connection_id']}/close"
        assert gateway.admin(closing, method="POST")[0] == 401
        assert gateway.admin(closing, method="POST", headers=token)[0] == 200
        with pytest.raises(ConnectionResetError):
            tunnels[0][0].read_to_end()
        gateway.wait_for_line("audit: close tunnel by 127.0.0.1: done")
        [record] = gateway.wait_for_records(1, reason=Reason.CLOSED_BY_OPERATOR)
        assert (record["ended"], record["ended_by"]) == ("reset", "gateway")

        gateway.write_settings({**settings, "bounds": {"memory": "1MiB"}})
        becomes_generation(gateway, 3)
        refused("127.0.0.1", Reason.MEMORY_EXHAUSTED)
        for client, _ in tunnels[1:]:
            client.send(b"ping")
            assert client.read(4) == b"ping"

        gateway.write_policy({"rules": []})
        for client, _ in tunnels[1:]:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        records = gateway.wait_for_records(2, reason=Reason.POLICY_CHANGED)
        assert [(record["decision"], record["generation"], record["bytes_up"]) for record in records] == [
            ("allow", 1, 4)
        ] * 2
    produced.update((Reason.CLOSED_BY_OPERATOR, Reason.POLICY_CHANGED))


def becomes_generation(gateway: GatewayProcess, wanted: int) -> None:
    """Wait until it is in force."""
    deadline = time.monotonic() + 60
    while gateway.metric("egress_policy_generation") != wanted:
        assert time.monotonic() < deadline, gateway.stderr_lines
        time.sleep(0.05)


def test_no_route_and_no_local_port_are_told_and_recorded(tmp_path: Path) -> None:
    """In a network namespace of its own, with two local ports and no route."""
    require_root()
    inside = [sys.executable, "-m", "tests.flows.narrow_network", str(tmp_path)]
    done = subprocess.run([require("unshare"), "--net", *inside], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["statuses"] == [502, 200, 200, 502]
    assert told["visits"] == 2
    records: list[Record] = told["records"]
    assert [record["reason"] for record in records] == [
        Reason.CONNECTION_UNROUTABLE,
        Reason.LOCAL_PORTS_EXHAUSTED,
    ]
    produced.update(record["reason"] for record in records)


def test_every_reason_was_produced(request: pytest.FixtureRequest) -> None:
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected = {item.originalname for item in items if item.path == request.node.path}
    if len(selected) < 5:
        pytest.skip("only some of the flows were selected")
    elsewhere = {Reason.INTERNAL_ERROR}  # needs a bug: tests/serve/test_connection.py plants one
    stories = entrances, test_request_reasons, test_inspected_requests, test_secrets, test_limits
    others = test_limits_over_processes, test_interception, test_inspectors, test_bad_destinations, test_tokens
    for story in (*stories, *others, test_http2_malformed, test_client_certificates):
        elsewhere |= story.REASONS
    assert set(Reason) - produced - elsewhere == set()
