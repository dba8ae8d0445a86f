"""Every form of URL against real servers: TLS with a login that may do no more than limits need, Sentinels of which
the master dies, a cluster of three."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from gateway.limits.replicas import link
from gateway.limits.replicas.link import Link
from gateway.limits.replicas.script import TAG
from gateway.limits.replicas.store import OnFailure, ReplicaStore
from gateway.limits.store_url import parse_store_url
from gateway.limits.tables.table import StoreUnavailable
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Taken
from tests.helpers.certificates import Authority, pem
from tests.helpers.pages import text_of
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer, wait_for_port
from tests.helpers.requirements import require

SECONDS = 60.0
BURST = 5
SLOW = Limit("slow", Counted.CONNECTIONS, rate=0.001, burst=float(BURST))
ACL = "+eval +evalsha +time +get +set +zadd +zcount +zscore +zrange +zremrangebyscore +expire +hgetall +hset +hdel"
ACL_IN_CLUSTER = "+command +cluster|slots"
HELD = Limit("held", Counted.CONCURRENT, rate=3.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they answer is looked at, and not how soon."""
    monkeypatch.setattr(link, "ANSWER_SECONDS", 10.0)


async def check_shared(url: str) -> None:
    """Two gateways there get together what one may."""
    async with joined(url, "one") as one, joined(url, "other") as other:
        await check_together((one, other))


@asynccontextmanager
async def joined(url: str, member: str) -> AsyncIterator[ReplicaStore]:
    """A store that is in touch: to connect may take longer than an answer may."""
    store = ReplicaStore(Link(parse_store_url(url), member), time, OnFailure.DENY, None)
    await store.start()
    try:
        await until(lambda: store.is_up)
        yield store
    finally:
        await store.close()


async def check_together(stores: Sequence[ReplicaStore]) -> None:
    draws = [Draw(SLOW, ()), Draw(HELD, ("client",))]
    outcomes = [await stores[turn % 2].take(draws) for turn in range(4)]
    assert [isinstance(outcome, Taken) for outcome in outcomes] == [True, True, True, False]
    refusal = outcomes[-1]
    assert isinstance(refusal, Lacking)
    assert refusal.limit is HELD
    singly = [await stores[turn % 2].take(draws[:1]) for turn in range(BURST)]
    assert [type(outcome) for outcome in singly] == [Taken, Taken, Lacking, Lacking, Lacking]


def inside_tls(folder: Path, *options: str) -> RedisServer:
    """A server whose certificate is by the authority in `roots.pem`."""
    authority = Authority("store")
    certificate, key = authority.server("localhost", addresses=["127.0.0.1"]).write(folder, "redis")
    roots = folder / "roots.pem"
    roots.write_bytes(pem(authority.certificate))
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(roots)]
    return RedisServer(folder, *files, "--tls-auth-clients", "no", *options, tls=True)


async def test_a_login_over_tls_needs_no_more_than_it_is_told(tmp_path: Path) -> None:
    user = ["on", ">secret", f"~{TAG}*", "-@all", *ACL.split()]
    with inside_tls(tmp_path, "--user", "default", "off", "--user", "limits", *user) as redis:
        at = f"localhost:{redis.port}/0?ssl_ca_certs={tmp_path / 'roots.pem'}"
        await check_shared(f"rediss://limits:secret@{at}")
        for refused in (f"rediss://limits:wrong@{at}", f"rediss://limits:secret@localhost:{redis.port}/0"):
            stranger = Link(parse_store_url(refused), "stranger")
            with pytest.raises(StoreUnavailable):
                await stranger.send_heartbeat()
            await stranger.close()


async def test_a_server_that_stopped_inside_tls_is_gone_back_to_and_holds_up_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not answer the alert that closes a connection."""
    monkeypatch.setattr(link, "ANSWER_SECONDS", 1.0)
    with inside_tls(tmp_path) as redis:
        url = f"rediss://localhost:{redis.port}/0?ssl_ca_certs={tmp_path / 'roots.pem'}"
        async with joined(url, "one") as store:
            other = Link(parse_store_url(url), "other")
            questions = (each.send_heartbeat() for each in (store._link, other) for _ in range(3))
            await asyncio.gather(*questions, return_exceptions=True)
            redis.stop()
            await other.close()
            await until(lambda: not store.is_up)
            await asyncio.sleep(3.0)
            redis.go_on()
            await until(lambda: store.is_up)


async def test_a_master_that_dies_is_replaced_by_sentinels(tmp_path: Path) -> None:
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer(folder(tmp_path, "master")))
        follows = ["--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0"]
        heir = stack.enter_context(RedisServer(folder(tmp_path, "replica"), *follows))
        sentinel = stack.enter_context(watching(folder(tmp_path, "sentinel"), master.port))
        url = f"redis+sentinel://127.0.0.1:{sentinel}/shared/0"
        await until(lambda: told(sentinel, "sentinel", "replicas", "shared").count("\nslave-priority") == 1)
        await check_shared(url)
        async with joined(url, "one") as store:
            master.kill()
            await until(lambda: f"\n{heir.port}\n" in told(sentinel, "sentinel", "get-master-addr-by-name", "shared"))
            deadline = time.monotonic() + SECONDS
            while not await admits(store):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)


async def test_a_cluster_keeps_all_buckets_of_one_take_together(tmp_path: Path) -> None:
    require("redis-cli")
    with ExitStack() as stack:
        nodes = []
        for name in "abc":
            bus = str(free_port())
            user = ["--user", "limits", "on", ">secret", f"~{TAG}*", "-@all", *ACL.split(), *ACL_IN_CLUSTER.split()]
            options = ["--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000", *user]
            nodes.append(stack.enter_context(RedisServer(folder(tmp_path, name), *options)).port)
        hosts = [f"127.0.0.1:{port}" for port in nodes]
        made = await asyncio.to_thread(told, nodes[0], "--cluster", "create", *hosts, "--cluster-yes")
        assert "All 16384 slots covered" in made
        for port in nodes:
            await until(lambda port=port: "cluster_state:ok" in told(port, "cluster", "info"))  # type: ignore[misc]  # bound now
        await check_shared(f"redis+cluster://limits:secret@{','.join(hosts)}")


def test_the_page_of_policies_names_these_permissions() -> None:
    page = text_of("docs/policy.md")
    assert f" ~{TAG}* -@all {ACL}\n" in page
    assert f"in a cluster also `{ACL_IN_CLUSTER}`" in " ".join(page.split())


async def admits(store: ReplicaStore) -> bool:
    with suppress(StoreUnavailable):
        return isinstance(await store.take([Draw(SLOW, ("another",))]), Taken)
    return False


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def told(port: int, *command: str) -> str:
    """What redis-cli prints."""
    run = subprocess.run(
        ["redis-cli", "-p", str(port), *command], check=False, capture_output=True, timeout=SECONDS, text=True
    )
    return run.stdout.replace("\r", "")


def folder(inside: Path, name: str) -> Path:
    made = inside / name
    made.mkdir()
    return made


@contextmanager
def watching(own: Path, master: int) -> Iterator[int]:
    """The port of a Sentinel that takes a master for dead after half a second."""
    port = free_port()
    settings = own / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {own}\nsentinel monitor shared 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds shared 500\nsentinel failover-timeout shared 2000\n"
    )
    process = subprocess.Popen(["redis-server", str(settings), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()
