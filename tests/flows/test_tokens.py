"""Tokens of service accounts, by Bearer and in the place of a password: who is believed, who is not, and that nobody
who is not falls through to what the address may do.

The rule `everyone` speaks of every client: it is what a refused token must not reach.
"""

import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.model.reasons import Reason
from tests.clients.matrix import CLIENTS, ClientProgram, Task
from tests.helpers.api_server import ApiServer, pod
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO, FileOrigin, make_site
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import require
from tests.helpers.token_issuer import ISSUER, TokenIssuer, tampered

REASONS = frozenset({Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED, Reason.TOKEN_UNVERIFIABLE})
"""Read from records here."""

PROGRAMS = [client for client in CLIENTS if client.name in ("curl", "git clone") or client.name.startswith("Java")]


def bearer(token: str) -> str:
    return f"Proxy-Authorization: Bearer {token}"


def basic(token: str, user: str = "token") -> str:
    return f"Proxy-Authorization: Basic {b64encode(f'{user}:{token}'.encode()).decode()}"


@dataclass
class Bed:
    """`gateway` has a rule for everyone; at `members` nobody gets anywhere without a token, and so is asked for one."""

    dns: DnsServer
    origin: FileOrigin
    authority: TestAuthority
    api: ApiServer
    issuer: TokenIssuer
    settings: dict[str, object]
    gateway: GatewayProcess
    members: GatewayProcess

    @property
    def target(self) -> str:
        return f"allowed.test:{self.origin.port}"

    def ask(self, *headers: str, source: str = "127.0.0.1") -> tuple[int, Record]:
        return ask(self.gateway, self.target, *headers, source=source)

    def refused(self, status: int, reason: Reason, *headers: str) -> Record:
        """What the client saw, what left the gateway, what the record says."""
        return refused(self, self.gateway, status, reason, *headers)


def ask(gateway: GatewayProcess, target: str, *headers: str, source: str = "127.0.0.1") -> tuple[int, Record]:
    seen = len(gateway.quiet())
    with RawClient(gateway.port, source=source) as client:
        status = status_of(client.connect(target, *headers))
    return status, gateway.wait_for_records(seen + 1)[seen]


def refused(bed: Bed, gateway: GatewayProcess, status: int, reason: Reason, *headers: str) -> Record:
    left = len(bed.dns.queries), bed.origin.connections
    told, record = ask(gateway, bed.target, *headers)
    assert (told, record["reason"], record["decision"], record["status"]) == (status, reason, "none", status), record
    assert (len(bed.dns.queries), bed.origin.connections) == left
    assert "namespace" not in record
    return record


POLICY = {
    "payments": {"match": [{"namespace": "payments", "service_account": "api"}]},
    "labelled": {"match": [{"namespace": "payments", "labels": {"app": "api"}}]},
}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("tokens")
    authority, issuer = TestAuthority(folder), TokenIssuer()
    issuer.rotate(ec.generate_private_key(ec.SECP256R1()))
    make_site(folder / "site")
    (folder / "api-token").write_text("gateway-token")
    (folder / "users").write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    with (
        DnsServer() as dns,
        FileOrigin(folder / "site", authority.server_context("allowed.test")) as origin,
        ApiServer(context=authority.server_context("127.0.0.1")) as api,
    ):
        dns.answer("allowed.test", "127.0.0.1")
        api.jwks = issuer.key_set()

        def rule(name: str, **clients: object) -> dict[str, object]:
            site = {"hosts": ["allowed.test"], "ports": [origin.port], "protocol": "tls"}
            return {"name": name, **site, **clients}

        members = {"clients": POLICY, "rules": [rule("payments", clients=["payments"])]}
        policy = {"clients": POLICY, "rules": [rule("everyone"), rule("payments", clients=["payments"])]}
        settings: dict[str, object] = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "kubernetes": {
                "server": api.url,
                "ca": str(authority.bundle),
                "token_file": str(folder / "api-token"),
            },
            "identity": {
                "basic": {"htpasswd": str(folder / "users")},
                "token": {"issuer": ISSUER, "jwks": "kubernetes"},
            },
        }
        for name in ("open", "members"):
            (folder / name).mkdir()
        with (
            GatewayProcess(folder / "open", policy, settings) as gateway,
            GatewayProcess(folder / "members", members, settings) as members_only,
        ):
            yield Bed(dns, origin, authority, api, issuer, settings, gateway, members_only)


WAYS = pytest.mark.parametrize("way", [bearer, basic], ids=["bearer", "basic"])


@WAYS
@pytest.mark.parametrize("key", ["k1", "k2"], ids=["RS256", "ES256"])
def test_a_valid_token_says_whose_it_is(bed: Bed, way: Callable[[str], str], key: str) -> None:
    status, record = bed.ask(way(bed.issuer.token(key)))
    assert (status, record["rule"], record["identity"]) == (200, "policy.yaml#payments", "token")
    assert (record["namespace"], record["service_account"], record["pod"]) == ("payments", "api", "api-1")


REFUSED: dict[str, tuple[Reason, Callable[[TokenIssuer], str]]] = {
    "expired": (Reason.TOKEN_EXPIRED, lambda issuer: issuer.token(exp=int(time.time()) - 60)),
    "too early": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(nbf=int(time.time()) + 600)),
    "wrong audience": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(aud=["https://kubernetes.default.svc"])),
    "wrong issuer": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(iss="https://elsewhere.example")),
    "alg none": (Reason.TOKEN_INVALID, lambda issuer: issuer.unsigned()),
    "HS256 with the public key": (Reason.TOKEN_INVALID, lambda issuer: issuer.by_public_key()),
    "PS256": (Reason.TOKEN_INVALID, lambda issuer: issuer.token("k1", "PS256")),
    "unknown kid": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(headers={"kid": "nobody"})),
    "another's kid": (Reason.TOKEN_INVALID, lambda issuer: issuer.token("k1", headers={"kid": "k2"})),
    "stranger's key": (Reason.TOKEN_INVALID, lambda issuer: TokenIssuer().token()),
    "tampered": (Reason.TOKEN_INVALID, lambda issuer: tampered(issuer.token())),
    "crit": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(headers={"crit": ["x"], "x": 1})),
    "no exp": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(exp=None)),
    "no audience": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(aud=None)),
    "a user's": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(sub="system:admin")),
    "two accounts": (Reason.TOKEN_INVALID, lambda issuer: issuer.token(sub="system:serviceaccount:payments:x")),
    "no token": (Reason.TOKEN_INVALID, lambda issuer: "correct-horse"),
    "two parts": (Reason.TOKEN_INVALID, lambda issuer: issuer.token().rpartition(".")[0]),
}


@WAYS
@pytest.mark.parametrize("name", REFUSED)
def test_a_token_that_is_not_accepted_ends_the_attempt(bed: Bed, way: Callable[[str], str], name: str) -> None:
    reason, make = REFUSED[name]
    token = make(bed.issuer)
    bed.refused(407, reason, way(token))
    written = bed.gateway.log_file.read_text() + "\n".join(bed.gateway.stderr_lines)
    assert token == "correct-horse" or token not in written


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", "bearer\ttoken", "Bearer " + "x" * 5000])
def test_a_malformed_bearer_ends_the_attempt(bed: Bed, value: str) -> None:
    bed.refused(407, Reason.CREDENTIALS_INVALID, f"Proxy-Authorization: {value}")


def test_a_token_under_another_users_name_is_a_token(bed: Bed) -> None:
    status, record = bed.ask(basic(bed.issuer.token(), "somebody"))
    assert (status, record["identity"]) == (200, "token")
    bed.refused(407, Reason.TOKEN_EXPIRED, basic(bed.issuer.token(exp=1), "ci"))


def test_passwords_are_still_passwords(bed: Bed) -> None:
    status, record = bed.ask(basic("correct-horse", "ci"))
    assert (status, record["identity"], record["user"]) == (200, "basic", "ci")


def test_a_rotated_key_is_fetched_and_a_key_taken_back_is_believed_no_longer(bed: Bed, tmp_path: Path) -> None:
    """From a file; a gateway of its own, whose keys nobody else asks for."""
    issuer, keys = TokenIssuer(), tmp_path / "jwks.json"
    keys.write_bytes(issuer.key_set())
    settings = {**bed.settings, "identity": {"token": {"issuer": ISSUER, "jwks": str(keys)}}}
    with GatewayProcess(tmp_path, bed.gateway.policy_file.read_text(), settings) as gateway:
        old = issuer.token()
        assert ask(gateway, bed.target, bearer(old))[0] == 200
        issuer.rotate()
        keys.write_bytes(issuer.key_set("k1"))
        new, deadline = issuer.token(), time.monotonic() + 15
        while ask(gateway, bed.target, bearer(new))[0] != 200:
            assert time.monotonic() < deadline
        refused(bed, gateway, 407, Reason.TOKEN_INVALID, bearer(old))
        # Without another source of passwords every password is meant as a token.
        refused(bed, gateway, 407, Reason.TOKEN_INVALID, basic("correct-horse", "ci"))
        assert ask(gateway, bed.target)[0] == 200


def test_where_the_keys_cannot_be_had_nobody_is_believed(bed: Bed, tmp_path: Path) -> None:
    settings = {**bed.settings, "identity": {"token": {"issuer": ISSUER, "jwks": str(tmp_path / "none.json")}}}
    with GatewayProcess(tmp_path, bed.gateway.policy_file.read_text(), settings) as gateway:
        record = refused(bed, gateway, 503, Reason.TOKEN_UNVERIFIABLE, bearer(bed.issuer.token()))
        assert "none.json" in record["detail"]


def test_the_api_server_may_be_asked_instead_and_pods_add_their_labels(bed: Bed, tmp_path: Path) -> None:
    token, other, stranger = (bed.issuer.token(jti=name) for name in ("good", "audience", "stranger"))
    extra = {"authentication.kubernetes.io/pod-name": ["api-1"]}
    bed.api.accounts[token] = {"username": "system:serviceaccount:payments:api", "extra": extra}
    bed.api.accounts[other] = {"username": "system:admin"}
    bed.api.put("pods", pod("api-1", "127.64.0.1", labels={"app": "api"}), pod("api-2", "127.64.0.2"))
    settings = {**bed.settings, "identity": {"kubernetes": True, "token": {"review": True}}}
    with GatewayProcess(tmp_path, bed.gateway.policy_file.read_text(), settings) as gateway:
        for _ in range(3):
            status, record = ask(gateway, bed.target, bearer(token), source="127.64.0.1")
            assert (status, record["identity"], record["pod"]) == (200, "token", "api-1")
            assert (record["groups"], record["workload"]) == (["labelled", "payments"], "Pod/api-1")
        assert bed.api.reviews == [token]
        # Another pod's address adds nothing to what the token says.
        _, record = ask(gateway, bed.target, bearer(token), source="127.64.0.2")
        assert (record["pod"], record["groups"], "workload" in record) == ("api-1", ["payments"], False)
        for bad in (stranger, other):
            refused(bed, gateway, 407, Reason.TOKEN_INVALID, bearer(bad))
        refused(bed, gateway, 407, Reason.TOKEN_EXPIRED, bearer(bed.issuer.token(exp=1)))
        bed.api.down()
        fresh = bed.issuer.token(jti="fresh")
        refused(bed, gateway, 503, Reason.TOKEN_UNVERIFIABLE, bearer(fresh))
        assert ask(gateway, bed.target, bearer(token))[0] == 200
        bed.api.up()


rows: list[str] = []


@pytest.mark.clients
@pytest.mark.parametrize("client", PROGRAMS, ids=[client.name for client in PROGRAMS])
def test_a_real_client_brings_a_token_as_its_password(bed: Bed, client: ClientProgram, tmp_path: Path) -> None:
    for name, token in (("valid", bed.issuer.token()), ("expired", bed.issuer.token(exp=1))):
        (tmp_path / name).mkdir()
        origin, port = f"https://{bed.target}", bed.members.port
        task = Task(origin, port, bed.authority.bundle, tmp_path / name, True, "token", token)
        left, seen = (len(bed.dns.queries), bed.origin.connections), len(bed.members.quiet())
        status, brought, said = client.run(task)
        last = bed.members.quiet()[seen:][-1]
        if name == "valid":
            assert (status, brought) == (0, HELLO), said
            assert (last["identity"], last["rule"]) == ("token", "policy.yaml#payments")
        else:
            assert status != 0
            assert (last["reason"], last["status"]) == (Reason.TOKEN_EXPIRED, 407)
            assert (len(bed.dns.queries), bed.origin.connections) == left
    rows.append(f"{client.name:<30}{client.version():<12}token as password: valid 200, expired 407")


@pytest.mark.clients
@pytest.mark.parametrize("name", ["valid", "expired", "alg none"])
def test_curl_brings_a_token_as_bearer(bed: Bed, name: str) -> None:
    token = bed.issuer.token() if name == "valid" else REFUSED[name][1](bed.issuer)
    seen, left = len(bed.gateway.quiet()), bed.origin.connections
    done = subprocess.run(
        [
            require("curl"), "-sS", "--proxy", bed.gateway.url, "--proxy-header", bearer(token),
            "--cacert", str(bed.authority.bundle), f"https://{bed.target}/hello.txt",
        ],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    [record] = bed.gateway.quiet()[seen:]
    if name == "valid":
        assert (done.stdout, record["identity"]) == (HELLO, "token")
    else:
        assert "407" in done.stderr
        assert (record["reason"], bed.origin.connections) == (REFUSED[name][0], left)


@pytest.mark.clients
def test_no_client_is_missing() -> None:
    print("\n" + "\n".join(rows) + f"\n{len(rows)} clients, {len(PROGRAMS) - len(rows)} skipped")
    assert len(rows) == len(PROGRAMS) == 4
