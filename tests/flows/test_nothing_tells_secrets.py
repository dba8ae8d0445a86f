"""A whole day of a gateway, over real TLS, with everything on that writes: all formats of log, traces, metrics and logs
for a collector, debug mode, all pages of the admin port, reloads good and bad, denied, failed and malformed exchanges,
and a crash in the end. Then all of it is searched for what must not be told.
"""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from tests.cli.test_main import asked
from tests.flows.interception import Bed, inspecting
from tests.helpers.certificates import Authority
from tests.helpers.collector import Collector
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http2_client import Http2Client
from tests.helpers.http_origin import Got, Talk
from tests.helpers.leaks import Search
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_origin import Issuer, TlsOrigin

HOST, EXPIRED = "origin.test", "expired.test"
KEY = 'sk+live/"4eC%39 HqLyjWDarjtT1='
RENEWED = "sk-renewed/7Jq%41 pWzMxVt0Lk3Q="
SPOILT = "spoilt-9XcVbN2mKq\nsecond-line-Zt5Rw"
OWN, PASSWORD, QUERY = "the-pods-own-3Fh8LwQ9", "a-password-7Gk2MnB4", "asked-for-5Dj1PsX6"
BODY, COOKIE, TOKEN = "in-the-body-8Wm4RtY2", "a-cookie-6Zk9HbV3", "admin-token-2Bv7NcL5"
FORMATS: list[dict[str, Any]] = [
    {"path": "records.jsonl"},
    {"path": "-", "format": "text"},
    {"path": "turned.jsonl", "rotate": {"size": "4KiB", "keep": 50}},
    *[{"path": f"envoy.{layout}", "format": "envoy", "layout": layout} for layout in ("default", "istio", "json")],
    {"path": "squid.log", "format": "squid"},
    {"path": "vpc.log", "format": "vpc"},
]
PAGES = ("/", "/healthz", "/readyz", "/metrics", "/ca.pem", "/ca-bundle.pem", "/tunnels", "/limits", "/nothing")


@dataclass
class Day:
    """What was told, and by whom it was heard."""

    folder: Path
    inputs: list[Path]
    origin: TlsOrigin
    heard: dict[str, bytes] = field(default_factory=dict)

    def hear(self, where: str, said: bytes) -> None:
        self.heard[where] = self.heard.get(where, b"") + said


def _pem_line(file: Path) -> str:
    """One from the midst of a private key."""
    lines = file.read_text().split("PRIVATE KEY-----")[1].split("\n")
    return lines[1]


def _echo(talk: Talk, got: Got) -> None:
    """The origin says again what it was told: head, content and reason."""
    talk.read_body(got)
    said = " ".join(got.values("authorization"))
    talk.reply(said.encode(), f"200 {said}", f"X-Echo: {said}")


def _breaks(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
    talk.close()


def _resets(talk: Talk, got: Got) -> None:
    talk.reset()


PLANT = """
    from gateway.exchange.inspected import request

    fields_for = request.Inspected.fields_for

    def telling(self, upstream):
        fields = fields_for(self, upstream)
        self._draft.path = repr(fields)
        return fields

    request.Inspected.fields_for = telling
"""
"""A fault as somebody could write it: what goes to the destination is put into the record."""


@contextlib.contextmanager
def _gateway(folder: Path, collector: Collector, origin: TlsOrigin, bad: TlsOrigin, issuer: Issuer) -> Iterator[Bed]:
    inspect = {
        "upstream_ca": "origins.pem",
        "client_certificate": "own",
        "requests": [{"paths": ["/v1/**"]}],
        "headers": {"set": {"Authorization": "Bearer ${secret:key}"}},
        "log": {"headers": ["User-Agent"]},
    }
    rules: list[dict[str, Any]] = [
        {"name": "site", "hosts": [HOST], "protocol": "auto", "inspect": inspect},
        {"name": "expired", "hosts": [EXPIRED], "ports": [bad.port], "inspect": inspect},
    ]
    (folder / "key").write_text(KEY + "\n")
    (folder / "token").write_text(TOKEN + "\n")
    Authority("clients").leaf("gateway").write(folder, "own")
    scripts, temporary = folder / "scripts", folder / "temporary"
    scripts.mkdir(exist_ok=True)
    temporary.mkdir()
    settings: dict[str, Any] = {
        "secrets": {"key": {"file": "key", "hosts": [HOST, EXPIRED], "scrub": True}},
        "client_certificates": {"own": {"cert": "own.crt", "key": "own.key", "hosts": [HOST, EXPIRED]}},
        "admin": {"bind": "127.0.0.1:0", "token_file": "token"},
        "telemetry": {
            "access_log": FORMATS,
            "otlp": {"endpoint": collector.url, "sample": 1.0, "signals": ["traces", "metrics", "logs"]},
        },
    }
    environ = {
        "PYTHONDEVMODE": "1",  # asyncio in debug mode, every warning, a traceback of a crash
        "PYTHONPATH": str(scripts),
        "TMPDIR": str(temporary),
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    prefix = ["sh", "-c", f'ulimit -c unlimited; cd "{temporary}"; exec "$@" >"{folder}/stdout"', "sh"]
    with inspecting(folder, origin, issuer, time.time(), rules, environ=environ, prefix=prefix, **settings) as bed:
        yield bed


def _spend(folder: Path, whole: bool = True) -> Day:
    """All of it, or enough to see what would be found."""
    issuer = Issuer(folder)
    answers = {"/v1/echo": _echo, "/v1/breaks": _breaks, "/v1/resets": _resets}
    with ExitStack() as stack:
        collector = stack.enter_context(Collector())
        origin = stack.enter_context(TlsOrigin(answers, context=issuer.context(HOST)))
        bad = stack.enter_context(TlsOrigin(context=issuer.context(EXPIRED, days=(-30, -1))))
        bed = stack.enter_context(_gateway(folder, collector, origin, bad, issuer))
        day = Day(folder, [folder / name for name in ("key", "token", "ca.key", "own.key")], origin)
        _inside_tls(day, bed)
        if whole:
            _outside_tls(day, bed)
            _failing(day, bed, bad.port)
            _reading_again(day, bed.gateway)
        _operating(day, bed, COMMANDS if whole else COMMANDS[:1])
        _telling(day, collector, bed.gateway)
        _crashing(day, bed.gateway)
    return day


def _inside_tls(day: Day, bed: Bed) -> None:
    authority = f"{HOST}:{bed.origin.port}"
    own = f"Authorization: Bearer {OWN}", f"Cookie: a={COOKIE}", "User-Agent: of-the-test"
    with bed.client() as client:
        for path in (f"/v1/echo?q={QUERY}", "/v1/other", f"/denied?q={QUERY}", "/v1/%zz", "/v1/echo"):
            client.ask(authority, path, *own)
            day.hear("the client", b"".join(read_response(client)))
        client.ask(authority, "/v1/echo", *own, f"Content-Length: {len(BODY)}", method="POST", body=BODY.encode())
        day.hear("the client", b"".join(read_response(client)))
        client.send(f"GET /v1/x HTTP/1.1\r\nHost: {authority}\r\nAuthorization : {OWN}\r\n\r\n".encode())
        day.hear("the client", b"".join(read_response(client)))
    with bed.client(HOST, "h2") as tls:
        client2 = Http2Client(tls)
        client2.get(1, authority, f"/v1/echo?q={QUERY}", ("authorization", OWN), ("cookie", COOKIE))
        day.hear("the client of HTTP/2", client2.answer(1)[1] + repr(client2.heads).encode())
    wrong = bed.origin.requests[-1].values("authorization")
    assert wrong == [f"Bearer {KEY}"]


def _outside_tls(day: Day, bed: Bed) -> None:
    """A secret does not go over plain HTTP; and what a proxy's client sends is for nobody else."""
    basic = "Proxy-Authorization: Basic dXNlcjphLXBhc3N3b3JkLTdHazJNbkI0"  # user:PASSWORD
    authority = f"{HOST}:{bed.origin.port}"
    for target in (f"http://{authority}/v1/echo?q={QUERY}", f"https://{authority}/v1/?q={QUERY}", f"/v1/?q={QUERY}"):
        with RawClient(bed.gateway.port) as client:
            client.send(f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nCookie: {COOKIE}\r\n{basic}\r\n\r\n".encode())
            head, body = read_response(client)
            assert status_of(head) >= 400
            day.hear("the client of plain HTTP", head + body)
    with RawClient(bed.gateway.port) as client:
        day.hear("the client of plain HTTP", client.connect("elsewhere.test:443", basic))


def _failing(day: Day, bed: Bed, expired: int) -> None:
    for host, port, path in ((HOST, None, "/v1/breaks"), (HOST, None, "/v1/resets"), (EXPIRED, expired, "/v1/expired")):
        with bed.client(host, port=port) as client:
            client.ask(f"{host}:{port or bed.origin.port}", f"{path}?q={QUERY}", f"Authorization: {OWN}")
            head, body = read_response(client)
            assert status_of(head) == 502
            day.hear("the client", head + body)


def _reading_again(day: Day, gateway: GatewayProcess) -> None:
    """A new value, one that cannot be taken, and a policy that names another."""
    for value in (RENEWED, SPOILT):
        (day.folder / "key").write_text(value + "\n")
        gateway.wait_for_line("secret key: its new value" if value == RENEWED else "is not one line")
    gateway.write_policy("rules: [{name: a, hosts: [a.test], inspect: {headers: {set: {X-A: '${secret:other}'}}}}]\n")
    gateway.wait_for_line("reload failed")


COMMANDS = ("observe", "-o", "json"), ("check",), ("explain", f"https://{HOST}/v1/x")
"""What operators ask, of the same gateway.yaml."""


def _operating(day: Day, bed: Bed, commands: Sequence[Sequence[str]]) -> None:
    gateway, bearer = bed.gateway, {"Authorization": f"Bearer {TOKEN}"}
    for headers in (bearer, {"Authorization": f"Bearer {OWN}"}, {}):
        day.hear("the admin port", gateway.admin("/reload", method="POST", headers=headers)[1].encode())
    for page in PAGES:
        day.hear("the admin port", gateway.admin(page, headers=bearer)[1].encode())
    config = day.folder / "operator.yaml"
    settings = yaml.safe_load(gateway.settings_file.read_text())
    bind = f"127.0.0.1:{gateway.ports['admin']}"
    config.write_text(yaml.safe_dump({**settings, "admin": {**settings["admin"], "bind": bind}}))
    for command, *arguments in commands:
        named = [str(config)] if command == "check" else ["-c", str(config)]
        done = asked(day.folder, command, *named, *arguments)
        assert done.stdout or done.stderr, command
        day.hear(f"egress-gateway {command}", (done.stdout + done.stderr).encode())


def _telling(day: Day, collector: Collector, gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 30
    while not (len(collector.spans()) > 5 and collector.metrics and len(collector.records()) > 5):
        assert time.monotonic() < deadline, "the collector heard too little"
        time.sleep(0.05)
    requests: list[Any] = [*collector.traces, *collector.metrics, *collector.logs]
    for told in requests:
        day.hear("the collector", told.SerializeToString())
    day.hear("the collector", repr(collector.headers).encode())


def _crashing(day: Day, gateway: GatewayProcess) -> None:
    """It dies in the midst of its work, with the key in its memory."""
    process = Path(f"/proc/{gateway.process.pid}")
    for file in ("cmdline", "environ", "limits"):
        day.hear(f"/proc {file}", (process / file).read_bytes())
    gateway.process.send_signal(signal.SIGABRT)
    gateway.process.wait(60)
    assert gateway.stop() == -signal.SIGABRT
    day.hear("standard error", "\n".join(gateway.stderr_lines).encode())
    assert b"Fatal Python error: Aborted" in day.heard["standard error"]
    core = next(line for line in day.heard["/proc limits"].splitlines() if line.startswith(b"Max core file size"))
    assert core.split()[4:6] == [b"0", b"0"]
    assert not list(day.folder.rglob("*core*"))


def _told(day: Day) -> set[tuple[str, str]]:
    """Where, and what."""
    spoilt = dict(zip(("spoilt", "spoilt behind"), SPOILT.split("\n"), strict=True))
    values = {"key": KEY, "renewed": RENEWED, **spoilt, "password": PASSWORD, "token": TOKEN, "body": BODY}
    values |= {"query": QUERY, "cookie": COOKIE, "the pod's own": OWN}
    values |= {name: _pem_line(day.folder / name) for name in ("ca.key", "own.key")}
    search = Search(values)
    told = {(where, name) for where, said in day.heard.items() for name in search.told_in(said)}
    return told | set(search.told_below(day.folder, [*day.inputs, *day.folder.glob("*.pem")]))


def test_nothing_that_is_written_or_answered_holds_a_secret(tmp_path: Path) -> None:
    day = _spend(tmp_path)
    heard = {got.path.partition("?")[0]: got.values("authorization") for got in day.origin.requests}
    assert set(heard) == {"/v1/echo", "/v1/other", "/v1/breaks", "/v1/resets"}
    assert set().union(*heard.values()) == {f"Bearer {KEY}"}
    assert b"*" * len(KEY) in day.heard["the client"]
    written = {path.name for path in tmp_path.iterdir() if path.is_file() and path.stat().st_size}
    expected = {"stdout", "envoy.default", "envoy.istio", "envoy.json", "squid.log", "turned.jsonl", "records.jsonl"}
    assert expected <= written
    assert _told(day) == set()


def test_and_a_record_that_held_one_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "sitecustomize.py").write_text(dedent(PLANT))
    told = _told(_spend(tmp_path, whole=False))
    assert {("records.jsonl", "key"), ("the collector", "key"), ("egress-gateway observe", "key")} <= told
    assert {("stdout", "key"), ("envoy.json", "key")} <= told
