"""The admin port over real connections."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin import server as admin_server
from gateway.admin.server import CONNECTIONS_PER_PEER, HEAD_BYTES, AdminServer
from gateway.admin.state import AuditEntry, GatewayState, LimitFill, OpenTunnel, ReloadOutcome
from gateway.model.errors import ConfigError
from gateway.telemetry.flows.ring import Ring

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class FakeGateway:
    """Fulfils `GatewayState` with what a test puts in."""

    flows: Ring = field(default_factory=Ring)
    reason: str | None = None
    outcome: ReloadOutcome = field(default_factory=lambda: ReloadOutcome(generation=2))
    entries: list[AuditEntry] = field(default_factory=list)
    broken: bool = False
    problem: str | None = None
    open: list[OpenTunnel] = field(default_factory=list)
    published: bytes | None = None

    def unready(self) -> str | None:
        return self.reason

    def authorities(self) -> bytes | None:
        return self.published

    def trust_bundle(self) -> bytes | None:
        return None if self.published is None else b"SYSTEM\n" + self.published

    def metrics(self) -> bytes:
        if self.broken:
            raise ZeroDivisionError
        return b"# TYPE answer gauge\nanswer 42.0\n"

    async def reload(self) -> ReloadOutcome:
        return self.outcome

    def restart(self) -> str | None:
        return self.problem

    @property
    def traffic(self) -> "FakeGateway":
        return self

    async def tunnels(self) -> Sequence[OpenTunnel]:
        return self.open

    async def limits(self) -> Sequence[LimitFill]:
        return [LimitFill("r.connections", ("10.0.0.1",), "connections", 5.0, 5.0, 0.0, 1.0, 7, False)]

    async def close_tunnel(self, connection_id: str) -> bool:
        return any(tunnel.connection_id == connection_id for tunnel in self.open)

    def audit(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


@dataclass
class Running:
    """A running server and how to reach it."""

    gateway: FakeGateway
    admin: httpx.AsyncClient
    health: httpx.AsyncClient
    admin_port: int
    health_port: int


@pytest.fixture
def token_path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


def listener(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0))


@asynccontextmanager
async def serving(token: Path | None = None, host: str = "127.0.0.1") -> AsyncIterator[Running]:
    gateway = FakeGateway()
    role: GatewayState = gateway
    bind, health = listener(host), listener()
    ports = bind.getsockname()[1], health.getsockname()[1]
    server = AdminServer(role, bind, health, token)
    await server.start()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    try:
        async with (
            httpx.AsyncClient(base_url=urls[0], trust_env=False) as admin,
            httpx.AsyncClient(base_url=urls[1], trust_env=False) as health_client,
        ):
            yield Running(gateway, admin, health_client, *ports)
    finally:
        await server.stop()
    assert (bind.fileno(), health.fileno()) == (-1, -1)


@pytest.fixture
async def running(token_path: Path) -> AsyncIterator[Running]:
    async with serving(token_path) as found:
        yield found


async def test_the_process_lives_whatever_else_is_wrong(running: Running) -> None:
    running.gateway.reason = "no_policy"
    for client in (running.admin, running.health):
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize("reason", ["starting", "draining", "no_policy"])
async def test_it_is_not_ready_for_a_reason(running: Running, reason: str) -> None:
    running.gateway.reason = reason
    for client in (running.admin, running.health):
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": reason})
    running.gateway.reason = None
    assert (await running.health.get("/readyz")).json() == {"ready": True}


async def test_metrics_are_prometheus_text(running: Running) -> None:
    for client in (running.admin, running.health):
        answer = await client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        (family,) = text_string_to_metric_families(answer.text)
        assert (family.name, family.samples[0].value) == ("answer", 42.0)


async def test_the_health_listener_serves_probes_and_scrapers_and_nothing_else(running: Running) -> None:
    assert (await running.health.get("/healthz", headers={"Host": "gateway.monitoring.svc"})).status_code == 200
    assert (await running.health.get("/")).status_code == 404
    assert (await running.health.post("/reload", headers=BEARER)).status_code == 404
    assert (await running.health.post("/healthz")).status_code == 405
    assert running.gateway.entries == []


async def test_limits_are_told_as_they_are(running: Running) -> None:
    answer = await running.admin.get("/limits", headers=BEARER)
    (fill,) = answer.json()["limits"]
    assert (fill["limit"], fill["key"], fill["refused"]) == ("r.connections", ["10.0.0.1"], 7)


async def test_the_index_names_every_page(running: Running) -> None:
    text = (await running.admin.get("/")).text
    assert [line.split()[1] for line in text.splitlines()] == [
        "/healthz",
        "/readyz",
        "/metrics",
        "/ca.pem",
        "/ca-bundle.pem",
        "/tunnels",
        "/flows",
        "/limits",
        "/tunnels/ID/close",
        "/reload",
        "/restart",
    ]


async def test_the_authority_is_given_to_everybody_on_the_health_port(running: Running) -> None:
    assert (await running.health.get("/ca.pem")).status_code == 404
    assert (await running.health.get("/ca-bundle.pem")).status_code == 404
    running.gateway.published = b"OURS\n"
    answer = await running.health.get("/ca.pem")
    assert (answer.status_code, answer.content) == (200, b"OURS\n")
    assert answer.headers["content-type"] == "application/x-pem-file"
    assert (await running.health.get("/ca-bundle.pem")).content == b"SYSTEM\nOURS\n"


async def test_a_page_in_a_browser_reaches_nothing_by_rebinding_a_name(running: Running) -> None:
    for path in ("/", "/healthz", "/metrics", "/missing"):
        answer = await running.admin.get(path, headers={"Host": "rebound.attacker.test"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await running.admin.get("/", headers={"Host": "rebound.attacker.test"} | BEARER)).status_code == 200


async def test_a_wrong_token_is_worse_than_none(running: Running) -> None:
    assert (await running.admin.get("/healthz", headers={"Authorization": "Bearer guess"})).status_code == 401


async def test_reloading_takes_the_token_and_leaves_an_audit_record(running: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Cookie": f"token={TOKEN}"}):
        assert (await running.admin.post("/reload", headers=headers)).status_code == 401
    assert running.gateway.entries == []
    answer = await running.admin.post("/reload", headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"generation": 2, "problems": []})
    assert running.gateway.entries == [AuditEntry("reload", "127.0.0.1", "done")]


async def test_a_reload_that_was_not_taken_says_why(running: Running) -> None:
    running.gateway.outcome = ReloadOutcome(1, ("policy.yaml:3: rules[0].hosts: empty",))
    answer = await running.admin.post("/reload", headers=BEARER)
    assert answer.status_code == 422
    assert answer.json() == {"generation": 1, "problems": ["policy.yaml:3: rules[0].hosts: empty"]}
    entry = AuditEntry("reload", "127.0.0.1", "failed", "policy.yaml:3: rules[0].hosts: empty")
    assert running.gateway.entries == [entry]


async def test_replacing_the_workers_takes_the_token_and_is_answered_before_it_is_done(running: Running) -> None:
    assert (await running.admin.post("/restart")).status_code == 401
    answer = await running.admin.post("/restart", headers=BEARER)
    assert (answer.status_code, answer.json()) == (202, {"begun": True})
    assert running.gateway.entries == [AuditEntry("restart", "127.0.0.1", "done", "begun")]


async def test_workers_that_cannot_be_replaced_are_a_conflict(running: Running) -> None:
    running.gateway.problem = "a single process"
    answer = await running.admin.post("/restart", headers=BEARER)
    assert (answer.status_code, answer.json()) == (409, {"problem": "a single process"})
    assert running.gateway.entries == [AuditEntry("restart", "127.0.0.1", "failed", "a single process")]


async def test_nothing_is_changed_by_reading(running: Running) -> None:
    assert (await running.admin.get("/reload", headers=BEARER)).status_code == 405
    assert running.gateway.entries == []


async def test_without_a_token_file_nothing_can_be_changed() -> None:
    async with serving() as running:
        assert (await running.admin.get("/metrics")).status_code == 200
        assert (await running.admin.post("/reload")).status_code == 401
        assert (await running.admin.post("/reload", headers=BEARER)).status_code == 401
        assert running.gateway.entries == []


async def test_a_token_in_the_url_is_refused_and_not_repeated(running: Running) -> None:
    for path in (f"/metrics?token={TOKEN}", f"/reload?access_token={TOKEN}"):
        answer = await running.admin.get(path, headers=BEARER)
        assert answer.status_code == 400
        assert TOKEN not in answer.text


async def test_no_page_takes_a_body(running: Running) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"

    assert (await running.admin.post("/reload", headers=BEARER, content=b"{}")).status_code == 413
    assert (await running.admin.post("/reload", headers=BEARER, content=endless())).status_code == 413
    assert running.gateway.entries == []


async def test_answers_allow_no_other_origin_and_set_no_cookie(running: Running) -> None:
    answer = await running.admin.get("/metrics", headers={"Origin": "http://attacker.test"})
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "set-cookie"]
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


async def test_a_slash_too_many_is_not_found_rather_than_redirected(running: Running) -> None:
    assert (await running.admin.get("/healthz/")).status_code == 404


async def test_a_fault_of_ours_is_a_500_without_its_traceback(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.gateway.broken = True
    with caplog.at_level(logging.ERROR):
        answer = await running.health.get("/metrics")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert "ZeroDivisionError" in caplog.text


async def test_forwarding_headers_are_nobodys_address(running: Running) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
    assert (await running.admin.get("/healthz", headers=forwarded)).status_code == 200
    await running.admin.post("/reload", headers=forwarded | BEARER)
    assert [entry.peer for entry in running.gateway.entries] == ["127.0.0.1"]


async def test_the_token_is_in_no_log_and_no_audit_record(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await running.admin.post("/reload", headers=BEARER)
        await running.admin.post(f"/reload?token={TOKEN}", headers=BEARER)
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]  # the client's
    assert not [message for message in logged if TOKEN in message]
    assert TOKEN not in repr(running.gateway.entries)


async def test_on_all_interfaces_it_starts_with_a_token(token_path: Path) -> None:
    async with serving(token_path, host="0.0.0.0") as running:
        assert (await running.admin.get("/healthz")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_port_that_others_can_reach_does_not_start_without_a_token(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as bind, pytest.raises(ConfigError, match=r"admin\.token_file"):
        AdminServer(FakeGateway(), bind)


async def test_a_listener_that_cannot_listen_is_an_error_of_start() -> None:
    bind = listener()
    server = AdminServer(FakeGateway(), bind)
    bind.close()
    with pytest.raises((OSError, ValueError)):
        await server.start()
    await server.stop()


async def test_signals_stay_with_whoever_had_them(running: Running) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert (await running.admin.get("/healthz")).status_code == 200


@asynccontextmanager
async def connection(
    port: int, peer: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(peer, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_one_connection_carries_one_request(running: Running) -> None:
    async with connection(running.admin_port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        answer = await asyncio.wait_for(reader.read(), timeout=30)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close\r\n" in answer


async def test_a_head_has_an_end(running: Running) -> None:
    async with connection(running.health_port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 2 * HEAD_BYTES)
        assert (await asyncio.wait_for(reader.read(), timeout=30)).startswith(b"HTTP/1.1 400 ")


async def test_what_is_not_http_gets_a_400(running: Running) -> None:
    async with connection(running.health_port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x00\x05hello\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), timeout=30)).startswith(b"HTTP/1.1 400 ")


async def test_a_connection_that_takes_too_long_is_cut_off(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_server, "CONNECTION_SECONDS", 0.05)
    async with connection(running.health_port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), timeout=30) == b""


async def test_one_peer_has_so_many_places_and_the_oldest_there_makes_room(running: Running) -> None:
    """A probe may share its address with who holds connections: of one node, behind a mesh's proxy, in one pod."""
    async with contextlib.AsyncExitStack() as held:
        holding = [
            await held.enter_async_context(connection(running.health_port)) for _ in range(CONNECTIONS_PER_PEER + 1)
        ]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(holding[0][0].read(), timeout=10) == b""
        assert (await running.health.get("/healthz")).status_code == 200
        assert (await running.admin.get("/healthz")).status_code == 200  # the other listener has its own bound


async def test_many_peers_together_cannot_keep_a_probe_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_server, "CONNECTIONS", 4)
    async with contextlib.AsyncExitStack() as held:
        held_first, *_ = [
            await held.enter_async_context(connection(running.health_port, f"127.0.1.{peer}")) for peer in range(1, 7)
        ]
        assert (await running.health.get("/healthz")).status_code == 200
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(held_first[0].read(), timeout=10) == b""


async def test_stopping_does_not_wait_for_an_idle_connection(token_path: Path) -> None:
    async with serving(token_path) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.admin_port)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < admin_server.STOP_SECONDS + 1
    writer.close()


TUNNEL = OpenTunnel(
    connection_id="0f3a9c5e17b2d846",
    opened="2027-01-15T08:00:00.123Z",
    age_seconds=1.5,
    listener="proxy",
    client="10.0.0.1",
    user=None,
    host="api.example.com",
    port=443,
    rule="policy.yaml#api",
    generation=7,
    bytes_up=517,
    bytes_down=4096,
)


async def test_what_is_open_is_listed_for_whoever_may_read_and_on_the_health_port_for_nobody(running: Running) -> None:
    running.gateway.open = [TUNNEL]
    answer = await running.admin.get("/tunnels", headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"tunnels": [asdict(TUNNEL)]})
    assert (await running.health.get("/tunnels")).status_code == 404


async def test_a_tunnel_is_closed_with_the_token_only_and_that_is_audited(running: Running) -> None:
    running.gateway.open = [TUNNEL]
    path = f"/tunnels/{TUNNEL.connection_id}/close"
    assert (await running.admin.post(path)).status_code == 401
    assert running.gateway.entries == []
    answer = await running.admin.post(path, headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"closed": True})
    missing = await running.admin.post("/tunnels/nowhere/close", headers=BEARER)
    assert (missing.status_code, missing.json()) == (404, {"closed": False})
    entries = [(entry.action, entry.outcome, entry.detail) for entry in running.gateway.entries]
    assert entries == [
        ("close tunnel", "done", repr(TUNNEL.connection_id)),
        ("close tunnel", "failed", "'nowhere'"),
    ]


async def test_a_fault_of_the_server_is_logged_at_once_and_neither_ends_it_nor_spoils_its_stop(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> bool:
        raise RuntimeError("planted")

    monkeypatch.setattr("uvicorn.Server.on_tick", fail)
    async with asyncio.timeout(10):
        while caplog.text.count("planted") < 2:  # noqa: ASYNC110  # of both listeners; nobody else is told
            await asyncio.sleep(0.02)
    assert (await running.health.get("/healthz")).status_code == 200
