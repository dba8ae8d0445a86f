"""Every client of the matrix fetches a real thing, is refused what no rule allows, and gets through after a 407.

The last line printed is `N clients, 0 skipped`.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from tests.clients.matrix import CLIENTS, PASSWORD, USER, ClientProgram, Task
from tests.clients.plain import PLAIN_CLIENTS
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO, FileOrigin, make_site
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import unavailable

pytestmark = [pytest.mark.clients, pytest.mark.slow]

rows: dict[str, str] = {}
"""What is printed of each client that did all it had to."""


@dataclass
class Bed:
    """What all errands share: one origin, one DNS server, one gateway for everyone and one for authenticated users."""

    dns: DnsServer
    origin: FileOrigin
    plain: FileOrigin
    authority: TestAuthority
    open_gateway: GatewayProcess
    user_gateway: GatewayProcess

    def task(
        self, folder: Path, host: str, gateway: GatewayProcess, with_credentials: bool = False, scheme: str = "https"
    ) -> Task:
        """An errand to `host` in a fresh folder."""
        folder.mkdir(parents=True)
        origin = f"{scheme}://{host}:{(self.origin if scheme == 'https' else self.plain).port}"
        return Task(origin, gateway.port, self.authority.bundle, folder, with_credentials)

    def left(self) -> tuple[int, int, int]:
        """What has left the gateways so far: DNS queries and connections."""
        return len(self.dns.queries), self.origin.connections, self.plain.connections


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("matrix")
    authority = TestAuthority(folder)
    make_site(folder / "site")
    with (
        DnsServer() as dns,
        FileOrigin(folder / "site", authority.server_context("allowed.test", "denied.test")) as origin,
        FileOrigin(folder / "site") as plain,
    ):
        dns.answer("allowed.test", "127.0.0.1")
        dns.answer("denied.test", "127.0.0.1")
        resolver = {"servers": [f"127.0.0.1:{dns.port}"]}
        rules = [
            {"name": "site", "hosts": ["allowed.test"], "ports": [origin.port], "protocol": "tls"},
            {"name": "plain", "hosts": ["allowed.test"], "ports": [plain.port], "protocol": "http"},
        ]
        users = folder / "users.htpasswd"
        users.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
        users_only = {
            "clients": {"ci": {"match": [{"user": USER}]}},
            "rules": [{**rule, "clients": ["ci"]} for rule in rules],
        }
        basic = {"resolver": resolver, "identity": {"basic": {"htpasswd": str(users)}}}
        for name in ("open", "users"):
            (folder / name).mkdir()
        with (
            GatewayProcess(folder / "open", {"rules": rules}, {"resolver": resolver}) as open_gateway,
            GatewayProcess(folder / "users", users_only, basic) as user_gateway,
        ):
            yield Bed(dns, origin, plain, authority, open_gateway, user_gateway)


@pytest.mark.parametrize("client", CLIENTS, ids=[client.name for client in CLIENTS])
def test_a_real_client_is_served_refused_and_challenged(bed: Bed, client: ClientProgram, tmp_path: Path) -> None:
    _is_allowed(bed, client, tmp_path / "allowed")
    _is_denied(bed, client, tmp_path / "denied")
    _is_asked_for_credentials(bed, client, tmp_path / "challenged")
    connections = _gets_through_with_credentials(bed, client, tmp_path / "authenticated")
    rows[client.name] = f"{client.name:<30}{client.version():<12}allowed  denied  after-407 in {connections}"


def _is_allowed(bed: Bed, client: ClientProgram, folder: Path) -> None:
    seen = len(bed.open_gateway.quiet())
    status, brought, said = client.run(bed.task(folder, "allowed.test", bed.open_gateway))
    assert (status, brought) == (0, HELLO), said
    records = bed.open_gateway.quiet()[seen:]
    assert _each(records, "decision", "sni", "rule") == {("allow", "allowed.test", "policy.yaml#site")}


def _is_denied(bed: Bed, client: ClientProgram, folder: Path) -> None:
    left, seen = bed.left(), len(bed.open_gateway.quiet())
    status, _, said = client.run(bed.task(folder, "denied.test", bed.open_gateway))
    assert status != 0
    assert "403" in said or "Egress denied" in said, said
    records = bed.open_gateway.quiet()[seen:]
    assert _each(records, "decision", "reason", "status") == {("deny", "no_rule", 403)}
    assert bed.left() == left


def _is_asked_for_credentials(bed: Bed, client: ClientProgram, folder: Path) -> None:
    left, seen = bed.left(), len(bed.user_gateway.quiet())
    status, _, said = client.run(bed.task(folder, "allowed.test", bed.user_gateway))
    assert status != 0
    assert "407" in said or "Proxy credentials required" in said or "authentication required" in said, said
    records = bed.user_gateway.quiet()[seen:]
    assert _each(records, "decision", "reason", "status") == {("deny", "credentials_missing", 407)}
    assert bed.left() == left


def _gets_through_with_credentials(bed: Bed, client: ClientProgram, folder: Path) -> int:
    """How many connections it took: some clients take a new one after the 407."""
    seen = len(bed.user_gateway.quiet())
    status, brought, said = client.run(bed.task(folder, "allowed.test", bed.user_gateway, with_credentials=True))
    assert (status, brought) == (0, HELLO), said
    records = bed.user_gateway.quiet()[seen:]
    *challenged, passed = [record["status"] for record in records]
    assert (set(challenged) <= {407}, passed) == (True, 200)
    assert (records[-1]["identity"], records[-1]["user"]) == ("basic", USER)
    return len(records)


@pytest.mark.parametrize("client", PLAIN_CLIENTS, ids=[client.name for client in PLAIN_CLIENTS])
def test_a_real_client_of_plain_http_likewise(bed: Bed, client: ClientProgram, tmp_path: Path) -> None:
    status, brought, said, records = _fetches_plain(bed, client, tmp_path / "allowed", bed.open_gateway)
    assert (status, brought) == (0, HELLO), said
    assert _each(records, "decision", "host", "rule") == {("allow", "allowed.test", "policy.yaml#plain")}
    doors = "+".join(sorted({record["door"] for record in records}))

    left = bed.left()
    status, _, said, records = _fetches_plain(bed, client, tmp_path / "denied", bed.open_gateway, host="denied.test")
    assert status != 0
    assert "403" in said or "Egress denied" in said, said
    assert _each(records, "decision", "reason", "status") == {("deny", "no_rule", 403)}

    status, _, said, records = _fetches_plain(bed, client, tmp_path / "challenged", bed.user_gateway)
    assert status != 0
    assert "407" in said or "Proxy credentials required" in said or "authentication required" in said, said
    assert _each(records, "decision", "reason", "status") == {("deny", "credentials_missing", 407)}
    assert bed.left() == left

    fetch = _fetches_plain(bed, client, tmp_path / "authenticated", bed.user_gateway, with_credentials=True)
    status, brought, said, records = fetch
    assert (status, brought) == (0, HELLO), said
    assert [record["status"] for record in records if record["decision"] != "allow"] in ([], [407])
    assert (records[-1]["identity"], records[-1]["user"]) == ("basic", USER)
    rows[f"{client.name}, plain"] = (
        f"{client.name + ', plain':<30}{client.version():<12}allowed  denied  after-407 by {doors}"
    )


def _fetches_plain(
    bed: Bed,
    client: ClientProgram,
    folder: Path,
    gateway: GatewayProcess,
    host: str = "allowed.test",
    with_credentials: bool = False,
) -> tuple[int, str, str, list[Record]]:
    """Exit status, what it brought, what it said; the records of its exchanges, else those of its connections."""
    gateway.quiet()
    seen = len(gateway.records())
    status, brought, said = client.run(bed.task(folder, host, gateway, with_credentials, scheme="http"))
    gateway.quiet()
    records = gateway.records()[seen:]
    exchanges = [record for record in records if "exchange_id" in record]
    return status, brought, said, exchanges or records


def _each(records: list[Record], *keys: str) -> set[tuple[object, ...]]:
    return {tuple(record[key] for key in keys) for record in records}


def test_credentials_are_written_nowhere(bed: Bed) -> None:
    gateway, authority = bed.user_gateway, f"allowed.test:{bed.origin.port}"
    for user, password, status in ((USER, PASSWORD, 200), (USER, "wrong-horse", 407), ("nobody-known", PASSWORD, 407)):
        with RawClient(gateway.port) as raw:
            assert status_of(raw.connect(authority, f"Proxy-Authorization: Basic {_basic(user, password)}")) == status
    with RawClient(gateway.port) as raw:
        assert status_of(raw.connect(f"{USER}:{PASSWORD}@{authority}")) == 400
    gateway.quiet()
    written = gateway.log_file.read_text() + gateway.metrics() + "\n".join(gateway.stderr_lines)
    assert '"credentials_invalid"' in written
    for secret in (PASSWORD, "wrong-horse", _basic(USER, PASSWORD), _basic(USER, "wrong-horse"), "nobody-known"):
        assert secret not in written


def _basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def test_no_client_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    names = [client.name for client in CLIENTS] + [f"{client.name}, plain" for client in PLAIN_CLIENTS]
    missing = [name for name in names if name not in rows]
    with capsys.disabled():
        print("\n" + "\n".join(rows.values()) + f"\n{len(rows)} clients, {len(missing)} skipped")
    if missing:
        unavailable(f"these did not run to their end: {', '.join(missing)}")
