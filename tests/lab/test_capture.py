"""Clients that never heard of a proxy, led to the gateway by what `routes apply` told the kernel."""

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from gateway.model.reasons import Reason
from tests.helpers.client_hello import build_client_hello
from tests.helpers.origins import Origin
from tests.helpers.raw_client import status_of
from tests.lab.bed import GREETING, GREETING_PORT, POOL_PORT, PORT, Bed, bed
from tests.lab.network import ELSEWHERE, GATEWAY, HOME, POD1, POD2, SOURCES, Namespace

pytestmark = [pytest.mark.privileged, pytest.mark.clients]

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
SSL_CONNECT_ERROR = 35
IPV4, IPV6 = 0, 1
BOTH = pytest.mark.parametrize("version", [IPV4, IPV6], ids=["IPv4", "IPv6"])
AT_ONCE = 1.0


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed(tmp_path_factory.mktemp("lab")) as laid:
        yield laid


@pytest.fixture(scope="module", params=["redirect", "tproxy"])
def captured(laid: Bed, request: pytest.FixtureRequest) -> Bed:
    laid.apply(request.param)
    return laid


@pytest.fixture
def tproxied(laid: Bed) -> Bed:
    laid.apply("tproxy")
    return laid


# ------------------------------------------------------------------------------------------------ allowed and refused


@BOTH
def test_an_allowed_name_is_reached_without_any_proxy_setting(captured: Bed, version: int) -> None:
    with captured.one_record() as record:
        done = captured.curl(captured.network.pod1, "allowed.test", HOME[version])
    assert (done.returncode, done.stdout) == (0, "home\n"), done.stderr
    assert (record["decision"], record["door"], record["rule"]) == ("allow", "transparent", "policy.yaml#allowed")
    assert (record["client_address"], record["listener"]) == (POD1[version], "proxy")
    assert (record["host"], record["port"], record["original_address"]) == ("allowed.test", 443, HOME[version])
    assert record["sni"] == "allowed.test"
    assert "status" not in record


@BOTH
@pytest.mark.parametrize(
    ("host", "reason"), [("denied.test", Reason.DENIED_BY_RULE), ("unlisted.test", Reason.NO_RULE)]
)
def test_a_refused_name_gets_an_alert_and_nothing_leaves(
    captured: Bed, version: int, host: str, reason: Reason
) -> None:
    left = captured.left()
    with captured.one_record() as record:
        done = captured.curl(captured.network.pod1, host, HOME[version])
    assert done.returncode == SSL_CONNECT_ERROR
    assert "access denied" in done.stderr
    assert captured.left() == left
    assert (record["decision"], record["reason"], record["host"]) == ("deny", reason, host)
    assert (record["client_address"], record["bytes_up"]) == (POD1[version], 0)


@BOTH
def test_an_allowed_name_goes_where_our_dns_says_whatever_address_was_dialled(captured: Bed, version: int) -> None:
    visits = len(captured.elsewhere[version].visits)
    with captured.one_record() as record:
        done = captured.curl(captured.network.pod1, "allowed.test", ELSEWHERE[version])
    assert (done.returncode, done.stdout) == (0, "home\n"), done.stderr
    assert len(captured.elsewhere[version].visits) == visits
    assert record["original_address"] == ELSEWHERE[version]
    assert record["dialled_address"] in HOME


def read_by(origins: Sequence[Origin]) -> int:
    return sum(len(visit.received) for origin in origins for visit in origin.visits)


@BOTH
def test_a_rule_that_inspects_holds_for_those_who_were_led_here_as_well(captured: Bed, version: int) -> None:
    pod = captured.network.pod1
    with captured.one_record() as record:
        done = captured.curl(pod, "inspected.test", HOME[version], trusts=captured.ours)
    assert (done.returncode, done.stdout) == (0, "home\n"), done.stderr
    assert (record["door"], record["rule"], record["inspected"]) == ("transparent", "policy.yaml#inspected", True)
    received = read_by(captured.homes)
    with captured.one_record():
        post = captured.curl(
            pod, "inspected.test", HOME[version], "--data", "x", "-w", "%{http_code}", trusts=captured.ours
        )
    assert post.stdout.endswith("403"), post.stdout + post.stderr
    assert read_by(captured.homes) == received
    exchanges = [each for each in captured.gateway.records() if "exchange_id" in each]
    assert exchanges[-1]["reason"] == Reason.REQUEST_DENIED


@BOTH
def test_an_address_without_a_name_is_refused_when_no_rule_has_it(captured: Bed, version: int) -> None:
    left = captured.left()
    with captured.one_record() as record, captured.client(captured.network.pod1, HOME[version]) as client:
        client.send(build_client_hello(server_name=None))
        assert client.read_to_end() == ACCESS_DENIED
    assert captured.left() == left
    assert (record["decision"], record["reason"], record["host"]) == ("deny", Reason.NO_RULE, HOME[version])


def test_what_is_not_tls_is_reset(captured: Bed) -> None:
    left = captured.left()
    with captured.one_record() as record, captured.client(captured.network.pod1, HOME[IPV4], 22) as client:
        client.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert captured.left() == left
    assert (record["decision"], record["reason"]) == ("deny", Reason.NO_RULE)


def test_the_client_is_held_to_an_address_of_the_name_where_the_rule_says_match(captured: Bed) -> None:
    with captured.one_record() as record:
        done = captured.curl(captured.network.pod1, "match.test", HOME[IPV4])
    assert (done.returncode, record["dialled_address"]) == (0, HOME[IPV4]), done.stderr
    syns = captured.left()[0]
    with captured.one_record() as record:
        done = captured.curl(captured.network.pod1, "match.test", ELSEWHERE[IPV4])
    assert done.returncode == SSL_CONNECT_ERROR
    assert captured.left()[0] == syns
    assert (record["decision"], record["reason"]) == ("deny", Reason.ADDRESS_REFUSED)
    assert "resolve: match" in record["detail"]


def test_every_request_of_a_connection_is_judged_by_its_own_host(captured: Bed) -> None:
    with captured.one_record() as record, captured.client(captured.network.pod1, ELSEWHERE[IPV4], 80) as client:
        for host, status in (("allowed.test", 200), ("other.test", 200), ("denied.test", 403), ("allowed.test", 200)):
            syns, dns, _ = captured.left()
            client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = client.read_head()
            client.read(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            assert status_of(head) == status, head
            if status == 403:
                assert captured.left()[:2] == [syns, dns]
    assert b"Host: other.test\r\n" in captured.web.received
    assert b"denied.test" not in captured.web.received
    assert (record["door"], record["requests"], record["original_address"]) == ("transparent", 4, ELSEWHERE[IPV4])


def test_curl_gets_a_page_in_the_clear(captured: Bed) -> None:
    with captured.one_record() as record:
        pinned = f"allowed.test:80:{ELSEWHERE[IPV4]}"
        done = captured.run_curl(captured.network.pod2, "--resolve", pinned, "http://allowed.test/")
    assert (done.returncode, done.stdout) == (0, "clear\n"), done.stderr
    assert (record["decision"], record["rule"], record["client_address"]) == ("allow", "policy.yaml#web", POD2[IPV4])


def test_a_server_may_speak_first_where_a_rule_has_its_address(captured: Bed) -> None:
    with captured.one_record() as record, captured.client(captured.network.pod1, HOME[IPV4], GREETING_PORT) as client:
        assert client.read(len(GREETING)) == GREETING
        client.send(b"QUIT\r\n")
        assert client.read(6) == b"QUIT\r\n"
    assert (record["decision"], record["rule"]) == ("allow", "policy.yaml#mail")
    assert (record["host"], record["dialled_address"]) == (HOME[IPV4], HOME[IPV4])


def test_a_silent_client_is_reset_in_the_end(captured: Bed) -> None:
    left = captured.left()
    with (
        captured.one_record() as record,
        captured.client(captured.network.pod1, HOME[IPV4]) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.read_to_end()
    assert captured.left() == left
    assert (record["decision"], record["reason"]) == ("none", Reason.CLIENT_SILENT)
    assert (record["host"], record["port"]) == (HOME[IPV4], 443)


@pytest.mark.parametrize("address", ["10.77.1.1", "2001:db8:77:1::1", GATEWAY[IPV4]])
def test_whoever_dials_the_listener_itself_was_captured_by_nobody(captured: Bed, address: str) -> None:
    left = captured.left()
    with (
        captured.one_record() as record,
        contextlib.suppress(ConnectionResetError),  # it may come before the client has seen itself connected
        captured.client(captured.network.pod1, address, PORT) as client,
    ):
        assert client.read_to_end() == b""
    assert captured.left() == left
    assert (record["decision"], record["reason"], record["host"]) == ("none", Reason.PROXY_LOOP, address)


# ----------------------------------------------------------------------------------------------------------- the lock


@BOTH
def test_quic_is_refused_at_once_so_that_clients_fall_back(captured: Bed, version: int) -> None:
    left = captured.left()
    began = time.monotonic()
    with _datagram(captured.network.pod1, version, HOME[version], 443) as sock:
        sock.send(b"a QUIC initial")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
    assert time.monotonic() - began < AT_ONCE
    assert captured.left() == left


@BOTH
def test_what_goes_around_the_gateway_is_dropped(captured: Bed, version: int) -> None:
    left = captured.left()
    [locked] = captured.network.gateway.counters("locked", table="egress_gateway")
    for port in (53, 123, 4433):
        with _datagram(captured.network.pod1, version, HOME[version], port) as sock:
            sock.send(b"around")
    [dropped] = captured.network.gateway.counters("locked", table="egress_gateway")
    assert dropped - locked == 3
    assert captured.left() == left


@BOTH
def test_nobody_outside_begins_a_connection_to_a_pod(captured: Bed, version: int) -> None:
    """Egress only; for IPv6 no NAT does it."""
    with captured.network.pod1.entered():
        family = socket.AF_INET6 if version else socket.AF_INET
        server = socket.create_server((POD1[version], 8080), family=family)
    with server, captured.network.world.entered():
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            socket.create_connection((POD1[version], 8080), timeout=0.5)
        with pytest.raises(TimeoutError):
            server.accept()
        with pytest.raises(OSError, match=r"timed out|refused"):  # neither the listener itself, by the pod's address
            socket.create_connection((POD1[version], PORT), timeout=0.5)


def _datagram(pod: Namespace, version: int, address: str, port: int) -> socket.socket:
    with pod.entered():
        sock = socket.socket(socket.AF_INET6 if version else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.connect((address, port))
    return sock


# --------------------------------------------------------------------------------------------------- egress addresses


def test_two_pods_leave_with_two_addresses(captured: Bed) -> None:
    for pod, source in ((captured.network.pod1, SOURCES[0]), (captured.network.pod2, SOURCES[1])):
        with captured.one_record() as record:
            assert captured.curl(pod, "one.test", HOME[IPV4]).stdout == "home\n"
        assert captured.homes[IPV4].visits[-1].peer[0] == source
        assert record["source_address"] == source


@BOTH
def test_the_world_sees_the_pods_own_address_where_the_rule_says_client(tproxied: Bed, version: int) -> None:
    for pod, address in ((tproxied.network.pod1, POD1[version]), (tproxied.network.pod2, POD2[version])):
        with tproxied.one_record() as record:
            done = tproxied.curl(pod, "client.test", HOME[version])
        assert (done.returncode, done.stdout) == (0, "home\n"), done.stderr
        assert tproxied.homes[version].visits[-1].peer[0] == address
        assert record["source_address"] == address


def test_a_pool_of_two_doubles_what_a_range_of_ports_allows(tproxied: Bed) -> None:
    hello = build_client_hello(server_name="pool.test")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_local_ports(tproxied.network.gateway, "30000 30039"))
        for _ in range(80):
            client = stack.enter_context(tproxied.client(tproxied.network.pod1, HOME[IPV4], POOL_PORT))
            client.send(hello)
            assert client.read(1) == b"!"
        sources = [visit.peer[0] for visit in tproxied.pool.visits]
        assert [sources.count(source) for source in SOURCES] == [40, 40]
        with tproxied.one_record() as record, tproxied.client(tproxied.network.pod1, HOME[IPV4], POOL_PORT) as client:
            client.send(hello)
            with pytest.raises(ConnectionResetError):
                client.read(1)
        assert (record["decision"], record["reason"]) == ("allow", Reason.LOCAL_PORTS_EXHAUSTED)
        with tproxied.network.gateway.entered():
            assert 'reason="local_ports_exhausted"' in tproxied.gateway.metrics()


@contextlib.contextmanager
def _local_ports(machine: Namespace, ports: str) -> Iterator[None]:
    machine.set_sysctl("ipv4/ip_local_port_range", ports)
    try:
        yield
    finally:
        machine.set_sysctl("ipv4/ip_local_port_range", "32768 60999")
