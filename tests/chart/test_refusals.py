"""What would be insecure or could not work is refused by the templates, also where the schema is turned off."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from tests.chart.rendering import CHART, HELMS, Run, template, with_values

ISSUER = {"enabled": True, "issuerRef": {"name": "x"}}
CAPTURING = {"enabled": True, "interfaces": ["cni0"], "pass": ["10.96.0.10"]}

REFUSED: list[Mapping[str, object]] = [
    *({"gateway": {key: {}}} for key in ("listeners", "policy", "admin", "drain", "secrets")),
    {"gateway": {"inspection": {"leaf_validity": "1d"}}},
    {"gateway__workers": "auto"},
    {"gateway": {"limits": {"store": "redis://user:secret@redis:6379/0"}}},
    {"replicaCount": None},
    {"admin": {"existingSecret": "x", "key": None}},
    {"ports__health": 3128},
    {"dnsPolicy": "None"},
    {"tls": {"clientCa": {"existingSecret": "x", "required": True}}},
    {"service__type": "NodePort"},
    {"service__type": "LoadBalancer"},
    {"security__runAsUser": 0},
    {"security__runAsGroup": 0},
    {"security__fsGroup": 0},
    {"image__digest": "sha256:abc"},
    {"transparent__digest": "latest"},
    {"identity__token__check": "jwks"},
    {"identity__kubernetes__enabled": True, "serviceAccount__create": False},
    {"terminationGracePeriodSeconds": 30},
    {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}},
    {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}},
    {"podDisruptionBudget__minAvailable": 1},
    {"podDisruptionBudget__maxUnavailable": None},
    {"tls__enabled": True},
    {"tls": {"enabled": True, "existingSecret": "x", "certManager": ISSUER}},
    {"tls": {"enabled": True, "certManager": {"enabled": True}}},
    {"inspection__enabled": True},
    {"tls": {"enabled": True, "existingSecret": "x", "clientCa": {"required": True}}},
    {"secrets": {"key": {"existingSecret": "x", "key": "k", "hosts": ["*"]}}},
    {"secrets": {name: {"existingSecret": "x", "key": "k", "hosts": ["a.example"]} for name in ("a_key", "a-key")}},
    {"trustBundle__enabled": True},
    {"trustBundle": {"enabled": True, "secret": {"name": "x"}, "inLine": "y"}},
    {"trustBundle": {"enabled": True, "inLine": "-----BEGIN PRIVATE KEY-----"}},
    {"trustBundle": {"enabled": True, "inLine": "x", "matchLabels": {"egress-gateway/trust": None}}},
    {"identity__kubernetes__enabled": True},
    {"limits__existingSecret": "redis"},
    {"networkPolicy__clients": []},
    {"networkPolicy__dns": []},
    {"networkPolicy__dnsPorts": []},
    {
        "identity__kubernetes__enabled": True,
        "networkPolicy": {"apiServer": {"cidrs": ["192.0.2.1/32"], "ports": []}},
    },
    {"lock__namespaces": ["shop", "egress"]},
    {"networkPolicy": {"enabled": False, "dns": []}, "lock__namespaces": ["shop"]},
    {"transparent": {**CAPTURING, "interfaces": []}},
    {"transparent": {**CAPTURING, "pass": []}},
    {"transparent": {**CAPTURING, "place": "pod"}},
    {"transparent": {**CAPTURING, "port": 9129}},
]

_FAIL = re.compile(r'\bfail (?:\(printf )?"((?:[^"\\]|\\.)*)"')


def messages() -> set[str]:
    """What every `fail` in the templates says, as regular expressions."""
    texts = (file.read_text() for file in sorted((CHART / "templates").rglob("*.*")))
    written = (found.replace('\\"', '"') for text in texts for found in _FAIL.findall(text))
    return {re.sub(r"%[sd]", ".+", re.escape(each)) for each in written}


def refused_by(program: str, tries: list[Mapping[str, object]]) -> list[Run]:
    def render(values: Mapping[str, object]) -> Run:
        return template(program, "--skip-schema-validation", *with_values(**values))

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(render, tries))


def test_every_refusal_is_reached_and_nothing_is_rendered_then() -> None:
    reached = set()
    for values, run in zip(REFUSED, refused_by("helm4", REFUSED), strict=True):
        said = {message for message in messages() if re.search(message, run.err)}
        assert run.status != 0, values
        assert said, f"{values}: {run.err}"
        assert run.out == "", values
        reached |= said
    assert reached == messages()
    assert len(messages()) > 25


def sections(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The path of every mapping, with `__` between its keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield above + key
            yield from sections(value, f"{above}{key}__")


def test_a_section_with_nothing_behind_it_is_needless_or_refused_with_a_message() -> None:
    paths = list(sections(yaml.safe_load((CHART / "values.yaml").read_text())))
    failed = {}
    for path, run in zip(paths, refused_by("helm4", [{path: None} for path in paths]), strict=True):
        if run.status:
            failed[path] = run.err
    assert {"image", "ports", "tls__clientCa", "networkPolicy__apiServer"} <= set(failed)
    for path, message in failed.items():
        assert f"{path.replace('__', '.')}: a key with nothing behind it" in message


def test_the_other_helm_refuses_as_well() -> None:
    for run in refused_by("helm3", REFUSED[:4]):
        assert run.status != 0
        assert any(re.search(message, run.err) for message in messages())


def test_a_key_with_nothing_behind_it_is_refused_if_that_takes_a_section_or_a_default_away() -> None:
    """Whatever else the templates would stumble over, which they do in no fixed order."""
    empty = ["admin", "metrics", "policy", "test", "transparent", "identity.basic", "networkPolicy.exceptIPv4"]
    tries: list[Mapping[str, object]] = [{key.replace(".", "__"): None} for key in empty]
    for program in HELMS:
        for key, run in zip(empty, refused_by(program, tries), strict=True):
            assert f"{key}: a key with nothing behind it takes the default away: leave it out" in run.err, key


def test_where_nothing_is_the_default_it_may_be_said() -> None:
    accepted: list[Mapping[str, object]] = [
        {"secrets": None, "probes__liveness": None, "imagePullSecrets": None, "gateway": None},
        {"trustBundle": {"enabled": True, "secret": {"name": "x"}, "inLine": None}},
    ]
    assert [run.err for run in refused_by("helm4", accepted) if run.status != 0] == []


def test_each_refusal_has_a_way_out() -> None:
    """What the messages ask for is enough."""
    accepted: list[Mapping[str, object]] = [
        {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}},
        {"terminationGracePeriodSeconds": 40},
        {"podDisruptionBudget": {"maxUnavailable": None, "minAvailable": 1}},
        {"tls": {"enabled": True, "certManager": ISSUER}},
        {"inspection": {"enabled": True, "existingSecret": "x"}, "gateway": {"inspection": {"leaf_validity": "1d"}}},
        {"identity__kubernetes__enabled": True, "networkPolicy__apiServer__cidrs": ["192.0.2.1/32"]},
        {"identity__kubernetes__enabled": True, "networkPolicy__enabled": False},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}},
        {"transparent": CAPTURING},
        {"security": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    ]
    assert [run.err for run in refused_by("helm4", accepted) if run.status != 0] == []
