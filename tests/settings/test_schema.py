"""The JSON Schemas accept what the parser accepts, and refuse what an editor should mark."""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.settings.gateway import GatewaySettings
from gateway.settings.policy import PolicyFile
from gateway.settings.problems import ConfigErrors
from gateway.settings.schema import gateway_schema, policy_schema
from gateway.settings.section import keys_of, validate
from gateway.settings.source.yaml import parse_yaml
from tests.policy.precedence import POLICY

CONFIG = Path(__file__).parents[2] / "config"
GATEWAY = Draft202012Validator(gateway_schema())
POLICIES = Draft202012Validator(policy_schema())

EVERYTHING = """\
version: 1
mode: report
clients:
  g:
    mode: enforce
    limits: [{concurrent: 5}, {use: q}]
    match: [{cidr: 10.0.0.0/8, user: u, namespace: n, service_account: s, labels: {a: b}, spiffe: "spiffe://a/*"}]
quotas: {q: {requests: 24/s, burst: 1, on_limit: queue, max_wait: 2s}}
rules:
  - name: a
    clients: [g]
    hosts: [a.example, "*.b.example", .c.example, "*", {name: "*.d.example", depth: 1}, bücher.example]
    hosts_file: hosts.txt
    cidrs: [192.0.2.0/24, "2001:db8::/32", 192.0.2.1]
    cidrs_file: nets.txt
    except: {hosts: [x.example], cidrs: [192.0.2.1], clients: [g]}
    within: [198.51.100.0/24]
    ports: [443, "8443", 8000-8100, any]
    action: allow
    mode: enforce
    protocol: auto
    sni: rule
    ech: deny
    resolve: match
    private: [10.0.0.0/8]
    public_suffix: true
    limits:
      - {use: q}
      - {connections: 50/s, burst: 100, key: [client, host]}
      - {bandwidth: 10MiB/s, direction: down, burst: 1MiB}
      - {bytes: 50GiB/day}
      - {requests: 0.5/m, mode: report}
    honour_retry_after: true
    breaker: {failures: 5, window: 10s, open: 30s}
    inspect:
      requests:
        - {methods: [GET], paths: ["/v1/**"]}
        - {methods: [POST], content_types: [application/json], max_body: 1MiB}
      headers: {set: {Authorization: "Bearer ${secret:key}"}, remove: [X-Internal-Id]}
      upstream_ca: corp-ca.pem
      log: {headers: [Content-Type], query: false}
    via: http://proxy.example:3128
    source: [192.0.2.1]
    proxy_protocol: v2
    timeouts: {dns: 1s, connect: 500ms, client_hello: 1m, tls_handshake: 1h, idle: 1.5h, lifetime: null}
    trace: {propagate: never}
    note: all of them
    expires: 2027-01-31
  - {name: b, hosts: [x.example], ports: any, inspect: false, source: client}
"""


def data(text: str) -> Any:
    return parse_yaml(text, "file.yaml").data


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(gateway_schema())
    Draft202012Validator.check_schema(policy_schema())


def test_every_key_of_a_policy_is_accepted_by_schema_and_parser() -> None:
    document = parse_yaml(EVERYTHING, "file.yaml")
    parsed = validate(PolicyFile, document, Path())
    unused = set(keys_of(type(parsed.rules[0]))) - set(document.data["rules"][0])
    assert not unused
    assert list(POLICIES.iter_errors(document.data)) == []


def set_to_null(value: Any) -> Iterator[Any]:
    """Copies in which the value of one key is null."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        for changed in (*([None] if isinstance(value, dict) else []), *set_to_null(inner)):
            copy = deepcopy(value)
            copy[step] = changed
            yield copy


def test_no_key_of_a_policy_may_be_null_but_the_lifetime_that_has_no_end() -> None:
    taken = []
    for changed in set_to_null(data(EVERYTHING)):
        accepts = not list(POLICIES.iter_errors(changed))
        try:
            validate(PolicyFile, replace(parse_yaml(EVERYTHING, "file.yaml"), data=changed), Path())
        except ConfigErrors:
            assert not accepts, changed
        else:
            assert accepts
            taken.append(changed)
    assert taken == [data(EVERYTHING)]


def test_every_default_of_the_settings_is_accepted_when_written_out() -> None:
    schema = gateway_schema()
    defaults = {name: value["default"] for name, value in schema["properties"].items() if "default" in value}
    assert len(defaults) >= 6
    assert list(GATEWAY.iter_errors(defaults)) == []
    GatewaySettings.model_validate(defaults)


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_fit_their_schema(file: Path) -> None:
    found = data(file.read_text())
    validator = GATEWAY if "listeners" in found else POLICIES
    assert list(validator.iter_errors(found)) == []


def test_the_policy_of_the_fixed_verdicts_fits() -> None:
    assert list(POLICIES.iter_errors(data(POLICY))) == []


def test_an_empty_file_fits() -> None:
    for validator in (GATEWAY, POLICIES):
        assert list(validator.iter_errors(None)) == []
        assert list(validator.iter_errors({})) == []


@pytest.mark.parametrize(
    "text",
    [
        "rulez: []",
        "version: 2",
        "rules: [{hosts: [x.example]}]",
        "rules: [{name: a, hosts: []}]",
        "rules: [{name: a, hosts: [443]}]",
        "rules: [{name: a, hosts: [{name: '*.x', depth: 2}]}]",
        "rules: [{name: a, ports: [x]}]",
        "rules: [{name: a, ports: [70000]}]",
        "rules: [{name: a, action: dney}]",
        "rules: [{name: a, expires: soon}]",
        "rules: [{name: a, timeouts: {idle: 5}}]",
        "rules: [{name: a, timeouts: {head: 5s}}]",
        "rules: [{name: a, limits: [{connections: 5}]}]",
        "rules: [{name: a, inspect: true}]",
        "clients: {g: {match: []}}",
        "clients: {g: {match: [{spiffe: x}]}}",
    ],
)
def test_what_an_editor_should_mark_is_refused_by_schema_and_parser(text: str) -> None:
    document = parse_yaml(text, "file.yaml")
    assert list(POLICIES.iter_errors(document.data))
    with pytest.raises(ConfigErrors):
        validate(PolicyFile, document, Path())


@pytest.mark.parametrize(
    "text",
    [
        "listener: []",
        "listeners: []",
        "listeners: [{bind: localhost}]",
        "timeouts: {idle: 5}",
        "bounds: {head: 64KB}",
        "workers: 0",
        "telemetry: {access_log: {format: xml}}",
        "admin: {health: 9129}",
        "identity: {required: 'yes'}",
    ],
)
def test_settings_that_an_editor_should_mark_are_refused_by_both(text: str) -> None:
    document = parse_yaml(text, "file.yaml")
    assert list(GATEWAY.iter_errors(document.data))
    with pytest.raises(ConfigErrors):
        validate(GatewaySettings, document, Path())


def test_every_key_says_what_it_means() -> None:
    for schema in (gateway_schema(), policy_schema()):
        for section in (schema, *schema["$defs"].values()):
            for name, value in section.get("properties", {}).items():
                assert "description" in value or "$ref" in value, name


def test_nothing_repeats_python_names() -> None:
    assert not re.search(r'"title"', str(gateway_schema()))
