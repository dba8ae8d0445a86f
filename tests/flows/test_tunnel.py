"""Stories of tunnels that stand, as clients really open and use them, and what the one record of each then says."""

import contextlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from random import Random

import bcrypt
import pytest

from gateway.model.reasons import Reason
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.origins import Origin, Visit, echo, greeting
from tests.helpers.raw_client import RawClient, status_of

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
PASSWORD = "correct-horse"
BULK = 24 << 20
GREETING = b"220 ready when you are\r\n"
FAREWELL = b"nothing more from here"


@dataclass
class Bed:
    """One gateway, one DNS server, and origins: one echoes, one speaks first, one says farewell and listens on."""

    dns: DnsServer
    echo: Origin
    greeting: Origin
    farewell: Origin
    gateway: GatewayProcess

    def client(self) -> RawClient:
        """A fresh connection to the proxy."""
        return RawClient(self.gateway.port)

    def at(self, host: str) -> str:
        """The echoing origin under that name."""
        return f"{host}:{self.echo.port}"

    def sink(self) -> tuple[int, int, int]:
        """What has left the gateway so far: DNS queries, connections, payload bytes."""
        return len(self.dns.queries), self.echo.settled(), len(self.echo.received)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("tunnel")
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    with (
        DnsServer() as dns,
        Origin(echo) as echoing,
        Origin(greeting(GREETING)) as first,
        Origin(_bid_farewell) as last,
    ):
        for name in ("tls", "tcp", "users", "a.family", "b.family", "other.family", "loose", "www.paste", "lenient"):
            dns.answer(f"{name}.test", "127.0.0.1")
        dns.answer("unlisted.test", "127.0.0.1")
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "identity": {"basic": {"htpasswd": str(users)}},
            "timeouts": {"client_hello": "3s", "head": "3s"},
        }
        policy = _policy(echoing.port, [echoing.port, first.port, last.port])
        with GatewayProcess(folder, policy, settings) as gateway:
            yield Bed(dns, echoing, first, last, gateway)


def _policy(port: int, ports: list[int]) -> dict[str, object]:
    def rule(name: str, **keys: object) -> dict[str, object]:
        return {"name": name, "hosts": [f"{name}.test"], "ports": [port], "protocol": "tls", **keys}

    return {
        "clients": {
            "ci": {"match": [{"user": "ci"}]},
            "trial": {"mode": "report", "match": [{"cidr": "127.0.7.0/24"}]},
        },
        "rules": [
            rule("tls"),
            rule("tcp", ports=ports, protocol="tcp"),
            rule("users", clients=["ci"]),
            rule("family", hosts=["*.family.test"], sni="rule"),
            rule("other", hosts=["other.family.test"]),
            rule("loose", sni="any"),
            rule("paste", hosts=["*.paste.test"], protocol="tcp"),
            rule("lenient", mode="report"),
            {"name": "no-paste", "hosts": [".paste.test"], "action": "deny", "mode": "report"},
            {"name": "no-secrets", "hosts": [".secret.test"], "action": "deny"},
        ],
    }


def _bid_farewell(connection: socket.socket, visit: Visit) -> None:
    connection.sendall(FAREWELL)
    connection.shutdown(socket.SHUT_WR)
    while data := connection.recv(65536):
        visit.received += data


def _hello(name: str | None) -> bytes:
    return build_client_hello(server_name=name)


@contextlib.contextmanager
def _one_record(bed: Bed) -> Iterator[Record]:
    """What happens inside leaves exactly one record; it is filled in at the end."""
    seen = len(bed.gateway.quiet())
    record: Record = {}
    yield record
    [only] = bed.gateway.quiet()[seen:]
    record |= only


def _open(client: RawClient, authority: str, *headers: str, early: bytes = b"") -> None:
    head = client.connect(authority, *headers, early=early)
    assert head == b"HTTP/1.1 200 Connection established\r\n\r\n"


def _exchange(client: RawClient, data: bytes) -> None:
    """The origin sends back what it got."""
    client.send(data)
    assert client.read(len(data)) == data


def _end(client: RawClient) -> None:
    """Half-close, and wait until the other side has as well."""
    client.finish()
    assert client.read_to_end() == b""


# ------------------------------------------------------------------------------------------- how the first bytes arrive


def test_a_hello_in_the_segment_of_the_connect_is_judged_and_relayed(bed: Bed) -> None:
    hello = _hello("tls.test")
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("tls.test"), early=hello)
        assert client.read(len(hello)) == hello
        _end(client)
    assert (record["decision"], record["status"], record["sni"]) == ("allow", 200, "tls.test")
    assert (record["bytes_up"], record["bytes_down"]) == (len(hello), len(hello))


def test_of_a_hello_that_comes_byte_by_byte_nothing_is_sent_on_before_it_is_judged(bed: Bed) -> None:
    hello = _hello("tls.test")
    seen = len(bed.gateway.quiet())
    visits, received = bed.echo.settled(), len(bed.echo.received)
    with bed.client() as client, bed.client() as another:
        _open(client, bed.at("tls.test"))
        for byte in hello[:-1]:
            client.send(bytes((byte,)))
        _open(another, bed.at("tcp.test"))
        _exchange(another, b"the loop has been round since")
        _end(another)
        assert bed.echo.settled() == visits + 2
        assert len(bed.echo.received) == received + len(b"the loop has been round since")
        client.send(hello[-1:])
        assert client.read(len(hello)) == hello
        _end(client)
    [_, record] = bed.gateway.quiet()[seen:]
    assert (record["decision"], record["sni"], record["bytes_up"]) == ("allow", "tls.test", len(hello))


def test_a_hello_cut_into_many_tls_records_is_relayed_as_it_came(bed: Bed) -> None:
    hello = build_client_hello(server_name="tls.test", fragment=7)
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("tls.test"))
        _exchange(client, hello)
        _end(client)
    assert (record["sni"], record["bytes_up"]) == ("tls.test", len(hello))


def test_a_server_that_speaks_first_is_heard_on_a_tcp_rule(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, f"tcp.test:{bed.greeting.port}")
        assert client.read(len(GREETING)) == GREETING
        _exchange(client, b"EHLO client\r\n")
        _end(client)
    assert (record["decision"], record["rule"]) == ("allow", "policy.yaml#tcp")
    assert (record["bytes_up"], record["bytes_down"]) == (13, len(GREETING) + 13)


@pytest.mark.parametrize(
    ("head", "version"),
    [
        ("CONNECT {authority} HTTP/1.0\r\n\r\n", b"HTTP/1.0"),
        ("CONNECT {authority} HTTP/1.1\r\nHost: tls.test\r\n\r\n", b"HTTP/1.1"),
        ("CONNECT {authority} HTTP/1.1\r\nhost:{authority}\r\nProxy-Connection: keep-alive\r\n\r\n", b"HTTP/1.1"),
        ("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1"),
    ],
    ids=["HTTP/1.0 without Host", "Host without port", "lower-case host", "empty content"],
)
def test_a_connect_is_understood_as_clients_send_it(bed: Bed, head: str, version: bytes) -> None:
    with _one_record(bed) as record, bed.client() as client:
        client.send(head.format(authority=bed.at("tls.test")).encode())
        assert client.read_head() == version + b" 200 Connection established\r\n\r\n"
        _exchange(client, _hello("tls.test"))
        _end(client)
    assert (record["decision"], record["host"], record["port"]) == ("allow", "tls.test", bed.echo.port)


# --------------------------------------------------------------------------------------------------------- credentials


def test_credentials_after_a_407_on_the_same_connection_make_one_record(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _is_challenged(client, bed.at("users.test"))
        _open(client, bed.at("users.test"), _basic(PASSWORD))
        _exchange(client, _hello("users.test"))
        _end(client)
    assert (record["decision"], record["status"], record["identity"], record["user"]) == ("allow", 200, "basic", "ci")
    assert "reason" not in record


def test_the_next_request_may_come_with_the_one_that_is_challenged(bed: Bed) -> None:
    authority = bed.at("users.test")
    again = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{_basic(PASSWORD)}\r\n\r\n".encode()
    with _one_record(bed) as record, bed.client() as client:
        _is_challenged(client, authority, early=again)
        assert status_of(client.read_head()) == 200
        _exchange(client, _hello("users.test"))
        _end(client)
    assert (record["decision"], record["user"]) == ("allow", "ci")


def test_a_client_that_never_has_the_right_password_is_asked_eight_times(bed: Bed) -> None:
    left = bed.sink()
    ninth = f"CONNECT {bed.at('users.test')} HTTP/1.1\r\nHost: x\r\n{_basic(PASSWORD)}\r\n\r\n".encode()
    with _one_record(bed) as record, bed.client() as client:
        for _ in range(7):
            _is_challenged(client, bed.at("users.test"), _basic("wrong-horse"))
        _is_challenged(client, bed.at("users.test"), _basic("wrong-horse"), early=ninth)
        assert client.read_to_end() == b""
    assert (record["decision"], record["reason"], record["status"]) == ("none", Reason.CREDENTIALS_INVALID, 407)
    assert record["wrong_credentials"] == 7  # before the last
    assert bed.sink() == left


def test_wrong_passwords_before_the_right_one_are_not_forgotten(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _is_challenged(client, bed.at("users.test"))
        for _ in range(3):
            _is_challenged(client, bed.at("users.test"), _basic("wrong-horse"))
        _open(client, bed.at("users.test"), _basic(PASSWORD))
        _exchange(client, _hello("users.test"))
        _end(client)
    assert (record["decision"], record["user"], record["wrong_credentials"]) == ("allow", "ci", 3)


def test_what_is_recorded_is_the_last_request_of_a_connection(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _is_challenged(client, bed.at("users.test"))
        assert status_of(client.connect("127.1:443")) == 400
    assert (record["decision"], record["reason"], record["status"]) == ("none", Reason.MALFORMED_AUTHORITY, 400)
    assert "host" not in record


def _is_challenged(client: RawClient, authority: str, *headers: str, early: bytes = b"") -> None:
    head = client.connect(authority, *headers, early=early)
    assert status_of(head) == 407
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    assert fields[b"Proxy-Authenticate"].startswith(b"Basic ")
    client.read(int(fields[b"Content-Length"]))


def _basic(password: str) -> str:
    return f"Proxy-Authorization: Basic {b64encode(f'ci:{password}'.encode()).decode()}"


# ----------------------------------------------------------------------------------------------------- both directions


def test_a_client_that_has_finished_still_hears_the_rest(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("tcp.test"), early=b"all that I have")
        client.finish()
        assert client.read_to_end() == b"all that I have"
    assert (record["ended"], record["bytes_up"], record["bytes_down"]) == ("closed", 15, 15)


def test_an_origin_that_has_finished_still_hears_the_rest(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, f"tcp.test:{bed.farewell.port}")
        assert client.read_to_end() == FAREWELL
        client.send(b"one word more")
        client.send(b", or two")
        client.finish()
    assert bed.farewell.received == b"one word more, or two"
    assert (record["ended"], record["bytes_up"], record["bytes_down"]) == ("closed", 21, len(FAREWELL))


def test_bulk_arrives_unaltered_and_exactly_counted(bed: Bed) -> None:
    data = Random(20).randbytes(BULK)
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("tcp.test"))
        sender = threading.Thread(target=_send_and_finish, args=(client, data))
        sender.start()
        back = client.read_to_end()
        sender.join()
    assert sha256(back).digest() == sha256(data).digest()
    assert sha256(bed.echo.visits[-1].received).digest() == sha256(data).digest()
    assert (record["bytes_up"], record["bytes_down"], record["ended"]) == (BULK, BULK, "closed")


def _send_and_finish(client: RawClient, data: bytes) -> None:
    client.send(data)
    client.finish()


# ------------------------------------------------------------------------------------------------- names inside of TLS


@pytest.mark.parametrize(
    ("host", "server_name", "rule"),
    [
        ("a.family.test", "b.family.test", "family"),
        ("loose.test", "elsewhere.test", "loose"),
        ("loose.test", None, "loose"),
    ],
    ids=["sni: rule, the same rule", "sni: any, another name", "sni: any, no name"],
)
def test_a_rule_may_allow_other_names_in_the_hello(bed: Bed, host: str, server_name: str | None, rule: str) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at(host))
        _exchange(client, _hello(server_name))
        _end(client)
    assert (record["decision"], record["rule"], record.get("sni")) == ("allow", f"policy.yaml#{rule}", server_name)


@pytest.mark.parametrize(
    ("host", "server_name", "reason"),
    [
        ("a.family.test", "other.family.test", Reason.SNI_MISMATCH),
        ("a.family.test", None, Reason.SNI_MISSING),
        ("loose.test", "www.secret.test", Reason.SNI_DENIED),
    ],
    ids=["sni: rule, another rule", "sni: rule, no name", "sni: any, a denied name"],
)
def test_a_name_that_the_rule_does_not_allow_ends_in_an_alert(
    bed: Bed, host: str, server_name: str | None, reason: Reason
) -> None:
    received = len(bed.echo.received)
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at(host))
        client.send(_hello(server_name))
        assert client.read_to_end() == ACCESS_DENIED
    assert len(bed.echo.received) == received
    assert (record["decision"], record["reason"], record["bytes_up"]) == ("deny", reason, 0)


# --------------------------------------------------------------------------------------------------------- report mode


def test_what_a_rule_in_report_mode_denies_passes_and_is_recorded(bed: Bed) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("www.paste.test"))
        _exchange(client, b"copied")
        _end(client)
    assert (record["decision"], record["rule"], record["status"]) == ("allow", "policy.yaml#paste", 200)
    assert (record["would_deny"], record["would_deny_rule"]) == (Reason.DENIED_BY_RULE, "policy.yaml#no-paste")


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (_hello("elsewhere.test"), Reason.SNI_MISMATCH),
        (_hello(None), Reason.SNI_MISSING),
        (b"SSH-2.0-client\r\n", Reason.PROTOCOL_MISMATCH),
    ],
    ids=["another name", "no name", "another protocol"],
)
def test_an_opening_that_would_be_refused_passes_in_report_mode(bed: Bed, opening: bytes, reason: Reason) -> None:
    with _one_record(bed) as record, bed.client() as client:
        _open(client, bed.at("lenient.test"))
        _exchange(client, opening)
        _end(client)
    assert (record["decision"], record["would_deny"], record["bytes_up"]) == ("allow", reason, len(opening))


def test_report_mode_opens_no_special_purpose_address(bed: Bed) -> None:
    """No rule: it would pass under the built-in rule `report-only`, which allows global unicast only."""
    queries, visits, received = bed.sink()
    with _one_record(bed) as record, RawClient(bed.gateway.port, source="127.0.7.1") as client:
        assert status_of(client.connect(bed.at("unlisted.test"))) == 403
    assert bed.sink()[0] > queries
    assert bed.sink()[1:] == (visits, received)
    assert (record["decision"], record["reason"]) == ("deny", Reason.ADDRESS_REFUSED)
    assert [each.partition(" ")[0] for each in record["refused"]] == ["127.0.0.1"]
    assert record["groups"] == ["trial"]
