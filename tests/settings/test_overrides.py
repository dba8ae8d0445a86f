"""The environment over the file: scalars without quotes, the rest as YAML, nothing unknown."""

from pathlib import Path

import pytest

from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings
from gateway.settings.problems import ConfigErrors
from tests.settings.texts import settings_problems, write


def load(directory: Path, text: str, **environ: str) -> GatewaySettings:
    return load_settings(write(directory, "gateway.yaml", text), environ)


def test_scalars_are_written_as_in_yaml_but_need_no_quotes(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "timeouts: {idle: 1m, connect: 3s}",
        EGRESS__TIMEOUTS__IDLE="5m",
        EGRESS__TIMEOUTS__LIFETIME="null",
        EGRESS__ADMIN__BIND="[::1]:9999",
        EGRESS__ADMIN__HEALTH='"[::]:9129"',
        EGRESS__IDENTITY__REQUIRED="true",
        EGRESS__RESOLVER__CACHE__SIZE="0x10",
        EGRESS__TELEMETRY__NAME="# name",
        EGRESS__BOUNDS__CLIENT_HELLO=" 32KiB ",
    )
    assert (settings.timeouts.idle, settings.timeouts.connect) == (300.0, 3.0)
    assert (str(settings.admin.bind), str(settings.admin.health)) == ("[::1]:9999", "[::]:9129")
    assert settings.identity.required
    assert settings.resolver.cache.size == 16
    assert settings.telemetry.name == "# name"
    assert settings.bounds.client_hello == 32768


def test_lists_and_mappings_are_yaml_text(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "",
        EGRESS__LISTENERS='[{name: a, bind: "127.0.0.1:1"}, {name: b, bind: "127.0.0.1:2"}]',
        EGRESS__ADDRESSES__ALLOW="[10.0.0.0/8]",
        EGRESS__RESOLVER="{servers: [192.0.2.1], timeout: 1s}",
        EGRESS__RESOLVER__TIMEOUT="3s",
    )
    assert [listener.name for listener in settings.listeners] == ["a", "b"]
    assert len(settings.addresses.allow) == 1
    assert str(settings.resolver.servers[0]) == "192.0.2.1:0"
    assert settings.resolver.timeout == 3.0


def test_a_section_that_is_null_or_absent_is_made(tmp_path: Path) -> None:
    settings = load(tmp_path, "identity: {basic: null}", EGRESS__IDENTITY__BASIC__HTPASSWD="users")
    assert settings.identity.basic is not None
    assert settings.identity.basic.htpasswd == tmp_path / "users"


def test_a_policy_that_the_environment_names_is_named(tmp_path: Path) -> None:
    assert load(tmp_path, "", EGRESS__POLICY="other.yaml").policy_is_named


def test_what_kubernetes_sets_for_a_service_called_egress_gateway_is_not_ours(tmp_path: Path) -> None:
    environ = {
        "EGRESS_GATEWAY_SERVICE_HOST": "10.96.0.7",
        "EGRESS_GATEWAY_PORT": "tcp://10.96.0.7:3128",
        "EGRESS_GATEWAY_PORT_3128_TCP_ADDR": "10.96.0.7",
        "EGRESS_PORT": "tcp://10.96.0.8:1",
    }
    assert settings_problems(tmp_path, "", environ) == []


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("EGRESS__TIMEOUT__IDLE", "5m", "there is no setting timeout.idle, did you mean 'timeouts'?"),
        ("EGRESS__TIMEOUTS__IDEL", "5m", "there is no setting timeouts.idel, did you mean 'idle'?"),
        ("EGRESS__TIMEOUTS__IDLE__X", "5m", "there is no setting timeouts.idle.x"),
        ("EGRESS__LISTENERS__0__BIND", "x", "there is no setting listeners.0.bind"),
        ("EGRESS__", "x", 'there is no setting [""]'),
        ("EGRESS__ADDRESSES__ALLOW", "[10.0.0.0/8", "not valid YAML: "),
        ("EGRESS__ADDRESSES__ALLOW", "[a: &x 1]", "the anchor &x is not allowed: write the value out"),
    ],
)
def test_a_variable_that_cannot_be_taken_is_named(tmp_path: Path, variable: str, value: str, problem: str) -> None:
    (found,) = settings_problems(tmp_path, "", {variable: value})
    assert found.startswith(f"{variable}: {problem}")


def test_a_value_that_is_wrong_has_the_variable_as_its_place(tmp_path: Path) -> None:
    environ = {"EGRESS__TIMEOUTS__IDLE": "5", "EGRESS__LISTENERS": "[{mode: dns, bind: x}]"}
    assert settings_problems(tmp_path, "timeouts:\n  idle: 1m\n  connect: 7", environ) == [
        'EGRESS__LISTENERS: listeners[0].bind: "x" is not an address and port such as "127.0.0.1:3128" or "[::]:3128"',
        "EGRESS__TIMEOUTS__IDLE: timeouts.idle: 5 is not a duration such as 500ms, 2s, 5m, 1h or 7d",
        "gateway.yaml:3: timeouts.connect: 7 is not a duration such as 500ms, 2s, 5m, 1h or 7d",
    ]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as refusal:
        load(tmp_path, "", EGRESS__ADDRESSES__ALLOW="['\udcff']", EGRESS__TELEMETRY__NAME="\udcff")
    assert str(refusal.value).splitlines() == [
        "EGRESS__ADDRESSES__ALLOW: is not UTF-8 text",
        "EGRESS__TELEMETRY__NAME: is not UTF-8 text",
    ]
