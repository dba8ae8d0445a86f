"""Attacks on the CONNECT door, as tables: what is sent, what the client is told, what the record says.

After every case nothing that is forbidden was reached, and an ordinary request passes.
"""

import resource
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import bcrypt
import psutil
import pytest

from gateway.model.reasons import Reason
from tests.helpers.client_hello import build_client_hello, in_records, server_name_extension
from tests.helpers.dns_server import DnsServer, Fault
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
DECODE_ERROR = bytes((21, 3, 3, 0, 2, 2, 50))

METADATA = (
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
)


@dataclass
class Bed:
    """`allowed.test` and `*.wild.test` are allowed on every port, `deny.wild.test` is denied, `forbidden.test` is not
    listed; all of them lead to the origin. 127.0.0.2 plays an internal address, on the same port."""

    gateway: GatewayProcess
    dns: DnsServer
    origin: Origin
    internal: Origin
    last_port: int = 0

    def client(self) -> RawClient:
        client = RawClient(self.gateway.port)
        self.last_port = client.socket.getsockname()[1]
        return client

    def fill_in(self, text: str) -> bytes:
        """With the ports of this run."""
        ports = {"port": self.origin.port, "proxy": self.gateway.port, "admin": self.gateway.ports["admin"]}
        for name, port in ports.items():
            text = text.replace(f"<{name}>", str(port))
        return text.encode("latin-1")

    def last_record(self) -> Record:
        """Of the client that was made last."""
        [*_, record] = [each for each in self.gateway.quiet() if each["client_port"] == self.last_port]
        return record

    def passes_ordinarily(self) -> None:
        with self.client() as client:
            assert status_of(client.connect(f"allowed.test:{self.origin.port}")) == 200
            hello = build_client_hello("allowed.test")
            client.send(hello)
            assert client.read(len(hello)) == hello
        assert self.internal.visits == []


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("abuse")
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    with DnsServer() as dns, Origin(echo) as origin, Origin(echo, "127.0.0.2", origin.port) as internal:
        for name in ("allowed.test", "a.wild.test", "deny.wild.test", "forbidden.test"):
            dns.answer(name, "127.0.0.1")
        rules = [
            {"name": "allowed", "hosts": ["allowed.test"], "ports": "any", "protocol": "tls"},
            {"name": "wild", "hosts": ["*.wild.test"], "ports": "any", "protocol": "tls", "sni": "rule"},
            {"name": "deny", "hosts": ["deny.wild.test"], "action": "deny"},
        ]
        settings = {
            "addresses": {"allow": ["127.0.0.1/32"]},
            "identity": {"basic": {"htpasswd": str(users)}},
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"], "cache": {"min_ttl": "0s"}},
            "timeouts": {"head": "2s", "client_hello": "2s"},
        }
        with GatewayProcess(folder, {"rules": rules}, settings) as gateway:
            yield Bed(gateway, dns, origin, internal)


def _connect(target: str, version: str = "1.1") -> str:
    return f"CONNECT {target} HTTP/{version}\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        pytest.param(_connect("FORBIDDEN.TEST:<port>"), 403, Reason.NO_RULE, id="case"),
        pytest.param(_connect("DENY.Wild.Test.:<port>"), 403, Reason.DENIED_BY_RULE, id="case and a dot"),
        pytest.param(_connect("forbidden.test.:<port>"), 403, Reason.NO_RULE, id="one dot"),
        pytest.param(_connect("allowed.test..:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="two dots"),
        pytest.param(_connect("[allowed.test]:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="a name in brackets"),
        pytest.param(_connect("forbidden%2etest:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="percent"),
        pytest.param(_connect("allowed.test:80@forbidden.test:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="userinfo"),
        pytest.param(_connect("b\xc3\xbccher.test:<port>"), 400, Reason.MALFORMED_REQUEST, id="UTF-8"),
        pytest.param(_connect("allowed.test\x00.forbidden.test:<port>"), 400, Reason.MALFORMED_REQUEST, id="NUL"),
        pytest.param(_connect("allowed.test"), 400, Reason.MALFORMED_AUTHORITY, id="no port"),
        pytest.param(_connect("allowed.test:0"), 400, Reason.MALFORMED_AUTHORITY, id="port 0"),
        pytest.param(_connect("allowed.test:65979"), 400, Reason.MALFORMED_AUTHORITY, id="port above 16 bits"),
        pytest.param(_connect("evilwild.test:<port>"), 403, Reason.NO_RULE, id="no label boundary"),
        pytest.param(_connect("wild.test:<port>"), 403, Reason.NO_RULE, id="apex of a wildcard"),
        pytest.param(_connect("a.wild.test.evil.test:<port>"), 403, Reason.NO_RULE, id="suffix of another name"),
        pytest.param(_connect("127.0.0.2:<port>"), 403, Reason.NO_RULE, id="literal"),
        pytest.param(_connect("127.1:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="short IPv4"),
        pytest.param(_connect("2130706434:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="number as IPv4"),
        pytest.param(_connect("0x7f.0.0.2:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="hexadecimal IPv4"),
        pytest.param(_connect("127.0.0.02:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="leading zero"),
        pytest.param(_connect("[::ffff:127.0.0.2]:<port>"), 403, Reason.NO_RULE, id="mapped IPv4"),
        pytest.param(_connect("[fe80::1%25lo]:<port>"), 400, Reason.MALFORMED_AUTHORITY, id="zone"),
        pytest.param(_connect("127.0.0.1:<admin>"), 403, Reason.NO_RULE, id="the admin port"),
        pytest.param("CONNECT allowed.test:1 HTTP/1.1\nHost: x\n\n", 400, Reason.MALFORMED_REQUEST, id="bare LF"),
        pytest.param(_connect("allowed.test:1", "2.0"), 400, Reason.MALFORMED_REQUEST, id="another version"),
        pytest.param(
            "CONNECT allowed.test:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            400, Reason.MALFORMED_REQUEST, id="CONNECT with content",
        ),
        pytest.param(
            "CONNECT allowed.test:1 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            400, Reason.MALFORMED_REQUEST, id="two Hosts",
        ),
        pytest.param("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, Reason.NOT_A_PROXY_REQUEST, id="HTTP/2 preface"),
    ],
)  # fmt: skip
def test_a_head_is_refused(bed: Bed, sent: str, status: int, reason: Reason) -> None:
    visits, queries = bed.origin.settled(), len(bed.dns.queries)
    with bed.client() as client:
        client.send(bed.fill_in(sent))
        answer = client.read_to_end()
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (status, 1)
    record = bed.last_record()
    assert (record["reason"], record["status"]) == (reason, status)
    assert (bed.origin.settled(), len(bed.dns.queries)) == (visits, queries)
    bed.passes_ordinarily()


def test_content_behind_a_407_is_not_taken_for_a_request(bed: Bed) -> None:
    """Whoever writes a client's content must not get to speak for the client."""
    visits = bed.origin.settled()
    content = bed.fill_in(_connect("allowed.test:<port>"))
    wrong = b64encode(b"ci:wrong").decode()
    head = f"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic {wrong}\r\n"
    with bed.client() as client:
        client.send(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        client.finish()
        answer = client.read_to_end()
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (407, 1)
    assert bed.last_record()["reason"] == Reason.CREDENTIALS_INVALID
    assert bed.origin.settled() == visits


ALLOWED = build_client_hello("allowed.test")
FORBIDDEN = build_client_hello("forbidden.test")
DENIED = build_client_hello("deny.wild.test")
SHOUTED = build_client_hello("DENY.Wild.TEST")


@pytest.mark.parametrize(
    ("host", "hello", "told", "reason"),
    [
        pytest.param("allowed.test", FORBIDDEN, ACCESS_DENIED, Reason.SNI_MISMATCH, id="SNI"),
        pytest.param("allowed.test", build_client_hello("a.wild.test"), ACCESS_DENIED, Reason.SNI_MISMATCH, id="other"),
        pytest.param("a.wild.test", DENIED, ACCESS_DENIED, Reason.SNI_DENIED, id="denied SNI"),
        pytest.param("a.wild.test", SHOUTED, ACCESS_DENIED, Reason.SNI_DENIED, id="denied SNI in capitals"),
        pytest.param(
            "allowed.test", build_client_hello("forbidden.test", fragment=1), ACCESS_DENIED, Reason.SNI_MISMATCH,
            id="SNI over hundreds of records",
        ),
        pytest.param("allowed.test", build_client_hello(None), ACCESS_DENIED, Reason.SNI_MISSING, id="no SNI"),
        pytest.param(
            "allowed.test",
            build_client_hello(None, extensions=[server_name_extension(b"allowed.test", b"forbidden.test")]),
            DECODE_ERROR, Reason.MALFORMED_CLIENT_HELLO, id="two names",
        ),
        pytest.param(
            "allowed.test",
            build_client_hello("allowed.test", extensions=[server_name_extension(b"forbidden.test")]),
            DECODE_ERROR, Reason.MALFORMED_CLIENT_HELLO, id="the extension twice",
        ),
        pytest.param(
            "allowed.test", build_client_hello(None, extensions=[server_name_extension(b"127.0.0.2")]),
            DECODE_ERROR, Reason.MALFORMED_CLIENT_HELLO, id="an address as SNI",
        ),
        pytest.param(
            "allowed.test", build_client_hello(None, extensions=[server_name_extension(b"allowed.test\0.evil")]),
            DECODE_ERROR, Reason.MALFORMED_CLIENT_HELLO, id="NUL in SNI",
        ),
        pytest.param(
            "allowed.test", in_records(ALLOWED[5:] + FORBIDDEN[5:]),
            DECODE_ERROR, Reason.MALFORMED_CLIENT_HELLO, id="a second hello in the record",
        ),
        pytest.param("allowed.test", b"SSH-2.0-x\r\n", None, Reason.PROTOCOL_MISMATCH, id="another protocol"),
        pytest.param("allowed.test", b"\x80\x2e\x01\x03\x01" + bytes(40), None, Reason.PROTOCOL_MISMATCH, id="SSL 2"),
    ],
)  # fmt: skip
def test_a_tunnel_is_broken_off_and_the_origin_reads_nothing(
    bed: Bed, host: str, hello: bytes, told: bytes | None, reason: Reason
) -> None:
    before = len(bed.origin.received)
    with bed.client() as client:
        assert status_of(client.connect(f"{host}:{bed.origin.port}", early=hello)) == 200
        if told is None:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            assert client.read_to_end() == told
    assert bed.last_record()["reason"] == reason
    assert len(bed.origin.received) == before
    bed.passes_ordinarily()


@pytest.mark.parametrize("address", METADATA)
def test_an_allowed_name_leads_to_no_metadata_service(bed: Bed, address: str) -> None:
    bed.dns.answer("rebound.wild.test", address, ttl=0)
    with bed.client() as client:
        assert status_of(client.connect("rebound.wild.test:80")) == 403
    assert bed.last_record()["reason"] == Reason.ADDRESS_REFUSED


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"])
@pytest.mark.parametrize("port", ["<proxy>", "<admin>"])
def test_a_name_that_leads_to_the_gateway_itself_is_a_loop(bed: Bed, address: str, port: str) -> None:
    bed.dns.answer("self.wild.test", address, ttl=0)
    with bed.client() as client:
        assert status_of(client.connect(bed.fill_in(f"self.wild.test:{port}").decode())) == 502
    assert bed.last_record()["reason"] == Reason.PROXY_LOOP


def test_of_mixed_and_rotating_answers_only_what_may_be_dialled_is(bed: Bed) -> None:
    bed.dns.rotate("mixed.wild.test", ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2"], ttl=0)
    hello = build_client_hello("mixed.wild.test")
    told = []
    for _ in range(6):
        with bed.client() as client:
            told.append(status_of(client.connect(f"mixed.wild.test:{bed.origin.port}", early=hello)))
    assert told == [200, 200, 403, 200, 200, 403]
    assert bed.internal.visits == []


def test_a_permitted_address_that_refuses_is_not_replaced_by_a_private_one(bed: Bed) -> None:
    bed.dns.answer("half.wild.test", "127.0.0.1", "127.0.0.2")
    with bed.client() as client:
        assert status_of(client.connect("half.wild.test:1")) == 502
    assert bed.last_record()["reason"] == Reason.CONNECTION_REFUSED


def test_hundreds_of_addresses_are_bounded(bed: Bed) -> None:
    bed.dns.answer("many.wild.test", *(f"127.1.{n // 250}.{n % 250 + 1}" for n in range(500)))
    with bed.client() as client:
        assert status_of(client.connect(f"many.wild.test:{bed.origin.port}")) == 403
    assert len(bed.last_record()["detail"]) <= 512


def test_names_that_never_resolve_hold_up_no_other_name(bed: Bed) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    slow = min(1000, hard // 20)
    bed.dns.answer("quick.wild.test", "127.0.0.1")
    for number in range(slow):
        bed.dns.spoil(f"slow{number}.wild.test", Fault.SILENCE)
    with ExitStack() as opened:
        for number in range(slow):
            client = opened.enter_context(bed.client())
            client.send(_connect(f"slow{number}.wild.test:443").encode())
        with bed.client() as client:
            assert status_of(client.connect(f"quick.wild.test:{bed.origin.port}")) == 200


def test_a_client_that_went_away_meanwhile_is_not_said_to_have_got_its_tunnel(bed: Bed) -> None:
    bed.dns.answer("late.wild.test", "127.0.0.1")
    bed.dns.delay("late.wild.test", 0.3)
    asked = len(bed.dns.queries)
    with bed.client() as client:
        client.send(_connect(f"late.wild.test:{bed.origin.port}").encode())
        bed.dns.wait_for_queries(asked + 1)
        client.reset()
    record = bed.last_record()
    assert (record["reason"], record.get("status")) == (Reason.CLIENT_CLOSED, None)


def test_targets_that_nobody_could_reach_are_not_remembered(bed: Bed) -> None:
    """What a client can make the gateway remember is bounded in bytes, not only in number."""
    process = psutil.Process(bed.gateway.process.pid)
    bed.passes_ordinarily()
    before = process.memory_info().rss
    for number in range(1000):
        with bed.client() as client:
            client.send(_connect(f"{'a' * 60_000}{number}:443").encode())
            assert status_of(client.read_head()) == 400
    assert process.memory_info().rss - before < 30_000_000
