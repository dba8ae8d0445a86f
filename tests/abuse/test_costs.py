"""What a client can make the gateway spend or say, where only its inside tells: memory, records, the time of others."""

import resource
from base64 import b64encode
from contextlib import ExitStack

import psutil

from gateway.model.reasons import Reason
from tests.abuse.bed import Bed
from tests.abuse.case import connect
from tests.helpers.dns_server import Fault
from tests.helpers.gateway import Record
from tests.helpers.raw_client import RawClient, status_of

SLOW = 300


def client(gateway: Bed, source: str) -> RawClient:
    """From an address that tells its records apart."""
    return RawClient(gateway.stage.proxy[1], source=source)


def record_from(gateway: Bed, source: str) -> Record:
    [record] = gateway.gateway.wait_for_records(1, client_address=source, exchange_id=None)
    return record


def test_content_behind_a_407_is_not_taken_for_a_request(gateway: Bed) -> None:
    """Whoever writes a client's content must not get to speak for the client."""
    seen = gateway.world.mark()
    content = gateway.stage.filled(connect("allowed.test:<tls>"))
    wrong = b64encode(b"ci:wrong").decode()
    head = f"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic {wrong}\r\n"
    with client(gateway, "127.2.0.1") as poster:
        poster.send(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        poster.finish()
        answer = poster.read_to_end()
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (407, 1)
    assert Reason.CREDENTIALS_INVALID in {
        record.get("reason") for record in gateway.gateway.wait_for_records(1, client_address="127.2.0.1")
    }
    assert gateway.world.left_since(seen, may_ask=False) == []


def test_hundreds_of_addresses_are_bounded_in_the_record(gateway: Bed) -> None:
    gateway.world.dns.answer("crowd.wild.test", *(f"127.3.{n // 250}.{n % 250 + 1}" for n in range(500)))
    with client(gateway, "127.2.0.2") as asking:
        assert status_of(asking.connect("crowd.wild.test:443")) == 403
    assert len(record_from(gateway, "127.2.0.2")["detail"]) <= 512


def test_names_that_never_resolve_hold_up_no_other_name(gateway: Bed) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    slow = min(SLOW, hard // 20)
    gateway.world.dns.answer("quick.wild.test", "127.0.0.1")
    for number in range(slow):
        gateway.world.dns.spoil(f"slow{number}.wild.test", Fault.SILENCE)
    with ExitStack() as opened:
        for number in range(slow):
            waiting = opened.enter_context(client(gateway, "127.2.0.3"))
            waiting.send(connect(f"slow{number}.wild.test:443"))
        with client(gateway, "127.2.0.4") as quick:
            assert status_of(quick.connect(f"quick.wild.test:{gateway.world.tls.port}")) == 200


def test_a_client_that_went_away_meanwhile_is_not_said_to_have_got_its_tunnel(gateway: Bed) -> None:
    dns = gateway.world.dns
    dns.answer("late.wild.test", "127.0.0.1")
    dns.delay("late.wild.test", 0.7)  # of the second that a name server has
    with client(gateway, "127.2.0.5") as leaving:
        leaving.send(gateway.stage.filled(connect("late.wild.test:<tls>")))
        dns.wait_for_query("late.wild.test")
        leaving.reset()
    record = record_from(gateway, "127.2.0.5")
    assert (record["reason"], record.get("status")) == (Reason.CLIENT_CLOSED, None)


def test_targets_that_nobody_could_reach_are_not_remembered(gateway: Bed) -> None:
    """What a client can make the gateway remember is bounded in bytes, not only in number."""
    process = psutil.Process(gateway.gateway.process.pid)
    before = process.memory_info().rss
    for number in range(1000):
        with client(gateway, "127.2.0.6") as asking:
            asking.send(connect(f"{'a' * 60_000}{number}:443"))
            assert status_of(asking.read_head()) == 400
    assert process.memory_info().rss - before < 30_000_000
