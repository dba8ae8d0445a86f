"""A key whose feature does not exist yet is refused by its place, unless it says what is the default anyway."""

from pathlib import Path

import pytest

from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_policy, with_policy
from gateway.settings.problems import ConfigErrors
from tests.settings.texts import settings_problems, write

RULE = "rules:\n  - name: a\n    hosts: [x.example]\n    "


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("listeners: [{mode: dns}]", "listeners[0].mode"),
        ("listeners: [{mode: socks5}]", "listeners[0].mode"),
        ("policy: kubernetes", "policy"),
        ("compat: smokescreen", "compat"),
    ],
)
def test_a_setting_without_its_feature_is_refused(tmp_path: Path, text: str, path: str) -> None:
    assert settings_problems(tmp_path, text) == [f"gateway.yaml:1: {path}: is not available yet"]


def test_defaults_written_out_are_no_wish(tmp_path: Path) -> None:
    text = """\
        listeners: [{mode: explicit, tls: null, proxy_protocol: null}]
        identity: {sources: [mtls, token, basic, kubernetes, address], token: null, kubernetes: false}
        secrets: {}
        resolver: {transport: udp, cache: {serve_stale: 0s}}
        inspection: null
        limits: {store: memory, on_store_failure: local, replicas: null}
        bounds: {tunnels: auto, tunnels_per_client: 2000}
        http_parser: auto
        telemetry: {access_log: {format: json}, otlp: null}
        workers: auto
        on_reload: keep
        compat: null
        """
    assert settings_problems(tmp_path, text) == []


def test_a_listener_may_be_transparent(tmp_path: Path) -> None:
    assert settings_problems(tmp_path, "listeners: [{mode: transparent}]") == []


@pytest.mark.parametrize("sources", ["[address]", "[basic]", "[mtls, basic, address]", "[address, basic]"])
def test_clients_are_known_by_certificate_password_and_address(tmp_path: Path, sources: str) -> None:
    assert settings_problems(tmp_path, f"identity: {{sources: {sources}}}") == []


@pytest.mark.parametrize(
    "wish",
    [
        "via: http://proxy.example:3128",
    ],
)
def test_a_rule_that_wishes_for_a_later_feature_is_refused(tmp_path: Path, wish: str) -> None:
    path = write(tmp_path, "policy.yaml", RULE + wish)
    with pytest.raises(ConfigErrors) as refusal:
        load_policy(with_policy(GatewaySettings(), path))
    key = wish.partition(":")[0]
    assert str(refusal.value) == f"{path}:4: rules[0].{key}: is not available yet"


@pytest.mark.parametrize(
    "default", ["resolve: gateway", "honour_retry_after: false", "inspect: false", "trace: {propagate: never}"]
)
def test_a_rule_may_write_defaults_out(tmp_path: Path, default: str) -> None:
    path = write(tmp_path, "policy.yaml", RULE + default)
    assert len(load_policy(with_policy(GatewaySettings(), path)).policy.rules) == 1


def test_what_is_not_available_is_told_together_with_what_else_is_wrong(tmp_path: Path) -> None:
    text = """\
        rules:
          - {name: a, hosts: [x.example], clients: [nobody]}
          - {name: b, hosts: [y.example], via: proxy.example}
        """
    path = write(tmp_path, "policy.yaml", text)
    with pytest.raises(ConfigErrors) as refusal:
        load_policy(with_policy(GatewaySettings(), path))
    assert [str(problem).removeprefix(str(path)) for problem in refusal.value.problems] == [
        ":3: rules[1].via: is not available yet",
        ":2: rules[0].clients[0]: the group 'nobody' is not declared",
    ]
