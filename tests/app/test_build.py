"""What stands in gateway.yaml reaches the objects that work with it."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest

from gateway.app.build import build_recorder, build_services
from gateway.app.configuration import Head, Sources, load_configuration
from gateway.app.generation.frames import contents_of
from gateway.app.identity.cluster import Cluster
from gateway.app.identity.sources import build_identifier
from gateway.app.resolving import ResolverPlan
from gateway.model.addresses import Address
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.errors import ConfigError, DownstreamError
from gateway.model.reasons import Reason
from gateway.net.dialer import TcpDialer
from gateway.net.kernel.descriptors import Descriptors
from gateway.serve.identify import Identifier
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings
from gateway.settings.problems import ConfigErrors
from gateway.telemetry.counters import Counters
from gateway.wire.head import RequestHead
from tests.app.policies import write
from tests.helpers.unlimited import Unlimited
from tests.policy.builders import build
from tests.telemetry.drafts import accepted


def head_of(folder: Path, text: str) -> Head:
    read = load_configuration(Sources(write(folder / "gateway.yaml", text)), {})
    head = next(contents_of(read))
    assert isinstance(head, Head)
    return head


def identifier_of(head: Head) -> Identifier:
    return build_identifier(head.settings, head.users, Cluster(head.settings.kubernetes))


PEER = Address(4, 0x0A000001)


def settings_of(folder: Path, text: str) -> GatewaySettings:
    return load_settings(write(folder / "gateway.yaml", text), {})


def head(*authorizations: str) -> RequestHead:
    return RequestHead("CONNECT", "x.test:443", 1, tuple(("proxy-authorization", value) for value in authorizations), 0)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


async def test_every_access_log_gets_every_record(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "telemetry: {access_log: [{path: one.jsonl}, {path: two.jsonl}]}")
    recorder = build_recorder(asyncio.get_running_loop(), settings, Counters())
    recorder.record(accepted())
    await asyncio.to_thread(recorder.close, 5)
    for name in ("one.jsonl", "two.jsonl"):
        [line] = (tmp_path / name).read_text().splitlines()
        assert json.loads(line)["connection_id"] == "c-1"


async def test_a_log_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "telemetry: {access_log: {path: missing/records.jsonl}}")
    with pytest.raises(ConfigError, match=r"missing/records.jsonl: cannot be opened for writing: No such file"):
        build_recorder(asyncio.get_running_loop(), settings, Counters())


async def test_users_of_the_password_file_are_known(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    identifier = identifier_of(head_of(tmp_path, "identity: {basic: {htpasswd: users}}"))
    assert await identifier.identify(PEER, head(basic("ci", "correct-horse")), None) == Client(
        PEER, IdentitySource.BASIC, user="ci"
    )
    with pytest.raises(DownstreamError):
        await identifier.identify(PEER, head(basic("ci", "wrong")), None)


@pytest.mark.parametrize("identity", ["{}", "{basic: {htpasswd: users}, sources: [address, basic]}"])
async def test_credentials_are_not_looked_at_where_no_source_before_the_address_wants_them(
    tmp_path: Path, identity: str
) -> None:
    (tmp_path / "users").write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    identifier = identifier_of(head_of(tmp_path, f"identity: {identity}"))
    assert await identifier.identify(PEER, head(basic("ci", "wrong")), None) == Client(PEER)


@pytest.mark.parametrize(
    ("sources", "source"),
    [
        ("[mtls, address]", IdentitySource.MTLS),
        ("[basic, mtls, address]", IdentitySource.MTLS),
        ("[address, mtls]", IdentitySource.ADDRESS),
        ("[address]", IdentitySource.ADDRESS),
    ],
)
async def test_certificates_are_looked_at_where_they_come_before_the_address(
    tmp_path: Path, sources: str, source: IdentitySource
) -> None:
    identifier = identifier_of(head_of(tmp_path, f"identity: {{sources: {sources}}}"))
    assert (await identifier.identify(PEER, head(), Certificate("CN=x"))).source is source


async def test_a_challenge_for_everybody_is_heeded(tmp_path: Path) -> None:
    identifier = identifier_of(head_of(tmp_path, "identity: {challenge: always}"))
    with pytest.raises(DownstreamError) as refusal:
        await identifier.identify(PEER, head(), None)
    assert refusal.value.reason is Reason.CREDENTIALS_MISSING


def test_a_password_file_that_cannot_be_read_is_named_with_the_key_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"gateway.yaml:2: identity.basic.htpasswd: .*gone cannot be read"):
        head_of(tmp_path, "version: 1\nidentity: {basic: {htpasswd: gone}}")


async def test_bounds_and_the_name_reach_the_walk(tmp_path: Path) -> None:
    text = "{bounds: {head: 8KiB, client_hello: 16KiB}, telemetry: {name: gw-7}}"
    loop, settings, limiter, rules = asyncio.get_running_loop(), settings_of(tmp_path, text), Unlimited(), build()
    recorder = build_recorder(loop, settings, Counters())
    services, _ = build_services(
        loop,
        settings,
        rules=lambda: rules,
        identifier=Identifier,
        resolver_plan=lambda: ResolverPlan(settings.resolver),
        entrance=lambda _: None,
        admit_as=lambda *_: None,
        inspection_plan=lambda: None,
        limiter=limiter,
        recorder=recorder,
        descriptors=Descriptors(),
    )
    assert (services.bounds.head, services.bounds.client_hello) == (8192, 16384)
    assert services.proxy_name == "gw-7"
    assert services.rules() is rules
    assert services.limiter is limiter
    assert services.recorder is recorder
    assert isinstance(services.dialer, TcpDialer)
    assert not services.draining
    await asyncio.to_thread(recorder.close, 5)


async def test_without_a_name_the_gateway_is_called_as_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node-3")
    loop, settings = asyncio.get_running_loop(), settings_of(tmp_path, "telemetry: {access_log: {path: r.jsonl}}")
    recorder = build_recorder(loop, settings, Counters())
    services, _ = build_services(
        loop,
        settings,
        rules=build,
        identifier=Identifier,
        resolver_plan=lambda: ResolverPlan(settings.resolver),
        entrance=lambda _: None,
        admit_as=lambda *_: None,
        inspection_plan=lambda: None,
        limiter=Unlimited(),
        recorder=recorder,
        descriptors=Descriptors(),
    )
    assert services.proxy_name == "node-3"
    await asyncio.to_thread(recorder.close, 5)
