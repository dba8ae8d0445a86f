"""A tunnel whose requests are answered one by one is a tunnel: a new policy ends it, and so may an operator."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import make_authority
from tests.flows.test_lifecycle import becomes
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.http2_client import Http2Client
from tests.helpers.http_origin import Got, HttpOrigin, Talk
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_client import TlsClient, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

HOST = "origin.test"
TOKEN = "correct-horse-battery"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGVzdA==\r\n"


def socket(talk: Talk, got: Got) -> None:
    """A WebSocket that gives back what it gets."""
    talk.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := talk.read_some():
        talk.send(data)


def dated(talk: Talk, got: Got) -> None:
    """Twice the same, to the last byte."""
    talk.reply(b"hello\n", "200 OK", "Date: Sun, 06 Nov 1994 08:49:37 GMT")


@dataclass
class Bed:
    gateway: GatewayProcess
    settings: dict[str, object]
    plain: HttpOrigin
    secure: TlsOrigin
    ca: Path

    def clients(self) -> Mapping[str, RawClient]:
        """One of each kind, whose request was answered."""
        made = {"clear": RawClient(self.gateway.port), "socket": RawClient(self.gateway.port)}
        assert status_of(made["clear"].connect(f"{HOST}:{self.plain.port}")) == 200
        context = client_context(self.ca)
        made["inspected"] = TlsClient(self.gateway.port, f"{HOST}:{self.secure.port}", context)
        for kind in ("clear", "inspected"):
            made[kind].send(self.question(kind))
            assert status_of(read_response(made[kind])[0]) == 200
        place = f"{HOST}:{self.plain.port}"
        made["socket"].send(f"GET http://{place}/socket HTTP/1.1\r\nHost: {place}\r\n{UPGRADE}\r\n".encode())
        assert status_of(made["socket"].read_head()) == 101
        return made

    def question(self, kind: str) -> bytes:
        """What the origin hears if the tunnel still stands."""
        port = self.secure.port if kind == "inspected" else self.plain.port
        return f"GET /{kind} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()

    @contextmanager
    def asking(self, kind: str) -> Iterator[Callable[[], tuple[str, str]]]:
        """Sends the same request again and again over one connection; answers Via as the origin, and as the client, has
        seen it."""
        origin = self.secure if kind.startswith("inspected") else self.plain
        place, context = f"{HOST}:{origin.port}", client_context(self.ca, *(["h2"] if "HTTP/2" in kind else []))
        client = TlsClient(self.gateway.port, place, context) if origin is self.secure else RawClient(self.gateway.port)
        if kind == "clear":
            assert status_of(client.connect(place)) == 200
        if "HTTP/2" in kind:
            assert isinstance(client, TlsClient)
            streams, over = itertools.count(1, 2), Http2Client(client)

        def ask() -> tuple[str, str]:
            if "HTTP/2" in kind:
                stream = next(streams)
                over.get(stream, place, "/dated")
                over.until(lambda each: stream in each.ended)
                told = dict(over.heads[stream][0])["via"]
            else:
                target = f"http://{place}/dated" if kind == "absolute" else "/dated"
                client.send(f"GET {target} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
                [told] = re.findall(r"\r\nVia: (.*)\r\n", read_response(client)[0].decode())
            [heard] = origin.requests[-1].values("via")
            return heard.replace("2 ", "1.1 "), told

        with client:
            yield ask

    def heard(self) -> tuple[int, int]:
        """Bytes of payload that came to each origin."""
        self.plain.origin.settled()
        self.secure.origin.settled()
        return len(self.plain.origin.received), len(self.secure.origin.received)

    def are_gone(self, clients: Mapping[str, RawClient], reason: Reason) -> list[Record]:
        """Each was reset, nothing that it says now goes on, and its record says why."""
        how = {"reason": reason, "ended": "reset", "ended_by": "gateway", "exchange_id": None}
        records = self.gateway.wait_for_records(len(clients), **how)
        heard = self.heard()
        for kind, client in clients.items():
            with client:
                assert was_reset(client, self.question(kind))
        assert self.heard() == heard
        return records


def was_reset(client: RawClient, question: bytes) -> bool:
    """Met in the writing or in the reading; TLS tells of it by an end without a goodbye."""
    try:
        client.send(question)
        return client.read_to_end() == b"" and isinstance(client, TlsClient)
    except OSError:
        return True


@contextmanager
def running(folder: Path) -> Iterator[Bed]:
    issuer = Issuer(folder)
    with (
        DnsServer() as dns,
        HttpOrigin({"/socket": socket, "/dated": dated}) as plain,
        TlsOrigin({"/dated": dated}, context=issuer.context(HOST)) as secure,
    ):
        dns.answer(HOST, "127.0.0.1")
        inspected = {"protocol": "tls", "inspect": {"upstream_ca": issuer.bundle.name}}
        rules = [
            {"name": "clear", "hosts": [HOST], "ports": [plain.port], "protocol": "http"},
            {"name": "inspected", "hosts": [HOST], "ports": [secure.port], **inspected},
        ]
        (folder / "token").write_text(TOKEN)
        settings: dict[str, object] = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "inspection": make_authority(folder, time.time()),
            "admin": {"bind": "127.0.0.1:0", "token_file": "token"},
            "on_reload": "close",
        }
        with GatewayProcess(folder, {"rules": rules}, settings) as gateway:
            yield Bed(gateway, settings, plain, secure, folder / "ca.crt")


def test_a_new_policy_ends_tunnels_of_requests_that_it_forbids(tmp_path: Path) -> None:
    with running(tmp_path) as bed:
        clients = bed.clients()
        bed.gateway.write_policy({"rules": []})
        becomes(bed.gateway, "egress_policy_generation", 2)
        records = bed.are_gone(clients, Reason.POLICY_CHANGED)
    assert sorted(record["rule"] for record in records) == [
        "policy.yaml#clear",
        "policy.yaml#clear",
        "policy.yaml#inspected",
    ]


def test_an_operator_sees_and_ends_tunnels_of_requests(tmp_path: Path) -> None:
    with running(tmp_path) as bed:
        clients = bed.clients()
        told = {"Authorization": f"Bearer {TOKEN}"}
        shown = json.loads(bed.gateway.admin("/tunnels", headers=told)[1])["tunnels"]
        assert sorted(each["rule"] for each in shown) == [
            "policy.yaml#clear",
            "policy.yaml#clear",
            "policy.yaml#inspected",
        ]
        for each in shown:
            path = f"/tunnels/{each['connection_id']}/close"
            assert bed.gateway.admin(path, method="POST", headers=told)[0] == 200
        bed.are_gone(clients, Reason.CLOSED_BY_OPERATOR)


def test_of_kept_connections_a_tunnel_keeps_its_rules_and_absolute_form_is_judged_by_the_new_ones(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as bed, RawClient(bed.gateway.port) as tunnel, RawClient(bed.gateway.port) as absolute:
        place = f"{HOST}:{bed.plain.port}"
        assert status_of(tunnel.connect(place)) == 200
        questions = bed.question("clear"), f"GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()

        def answers() -> list[int]:
            for client, question in zip((tunnel, absolute), questions, strict=True):
                client.send(question)
            return [status_of(read_response(client)[0]) for client in (tunnel, absolute)]

        assert answers() == [200, 200]
        bed.gateway.write_settings({**bed.settings, "on_reload": "keep"})
        becomes(bed.gateway, "egress_policy_generation", 2)
        bed.gateway.write_policy({"rules": []})
        becomes(bed.gateway, "egress_policy_generation", 3)
        assert answers() == [200, 403]


@pytest.mark.parametrize("kind", ["absolute", "clear", "inspected", "inspected, in HTTP/2"])
def test_another_name_holds_for_the_next_request_on_a_connection_that_is_kept(tmp_path: Path, kind: str) -> None:
    with running(tmp_path) as bed, bed.asking(kind) as ask:
        first = ask()
        assert first[0] == first[1] != "1.1 gw-2"
        bed.gateway.write_settings({**bed.settings, "telemetry": {"name": "gw-2", "access_log": []}})
        becomes(bed.gateway, "egress_policy_generation", 2)
        assert ask() == ("1.1 gw-2", "1.1 gw-2")
        assert len({got.visit for got in (*bed.plain.requests, *bed.secure.requests)}) == (
            2 if kind == "absolute" else 1
        )


def test_a_request_that_is_under_way_is_judged_to_its_end_by_the_rules_that_it_began_with(tmp_path: Path) -> None:
    with DnsServer() as dns, HttpOrigin() as origin:
        dns.answer(HOST, "127.0.0.1")
        dns.delay(HOST, 2.0)
        rules = [{"name": "site", "hosts": [HOST], "ports": [origin.port], "protocol": "http"}]
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "10s"}}
        with GatewayProcess(tmp_path, {"rules": rules}, settings) as gateway, RawClient(gateway.port) as client:
            place = f"{HOST}:{origin.port}"
            client.send(f"GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            dns.wait_for_query(HOST)
            gateway.write_policy({"rules": []})
            becomes(gateway, "egress_policy_generation", 2)
            assert status_of(read_response(client)[0]) == 200
            [record] = gateway.wait_for_records(1, path="/")
            assert (record["generation"], record["rule"]) == (1, "policy.yaml#site")
