"""What the chart renders is what Kubernetes takes: by two Helms, for the defaults and every feature."""

import importlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    FEATURES,
    HELMS,
    ROOT,
    TOOLS,
    Object,
    everything,
    helm,
    objects,
    one,
    rendered,
    template,
    values_of,
    with_values,
)

OLDEST, NEWEST = "1.31", "1.37"

# What others define has no schema here: the fields that are used, as their documentation names them.
FOREIGN: dict[str, dict[str, Any]] = {
    "cert-manager.io/v1/Certificate": {
        "secretName": str, "duration": str, "renewBefore": str, "isCA": bool, "commonName": str, "usages": list,
        "dnsNames": list, "privateKey": {"algorithm": str, "size": int, "rotationPolicy": str},
        "issuerRef": {"name": str, "kind": str, "group": str},
    },
    "trust.cert-manager.io/v1alpha1/Bundle": {
        "sources": list,
        "target": {"configMap": {"key": str}, "namespaceSelector": {"matchLabels": {"egress-gateway/trust": str}}},
    },
    "monitoring.coreos.com/v1/ServiceMonitor": {
        "namespaceSelector": {"matchNames": list}, "selector": {"matchLabels": dict}, "endpoints": list,
    },
    "monitoring.coreos.com/v1/PrometheusRule": {"groups": list},
}  # fmt: skip


@cache
def validator() -> Any:
    """kubernetes-validate, which is not in the tests' own environment. It reads each schema once."""
    sys.path.append(str(TOOLS))
    found: Any = importlib.import_module("kubernetes_validate.utils")
    found.schema_contents = cache(found.schema_contents)
    return found


def is_foreign(each: Object) -> bool:
    return f"{each['apiVersion']}/{each['kind']}" in FOREIGN


@pytest.mark.parametrize("program", HELMS)
def test_lint_has_nothing_to_say(program: str) -> None:
    def lint(feature: str) -> str:
        run = helm(program, "lint", "--strict", str(CHART), *values_of(feature))
        return "" if run.status == 0 else run.out + run.err

    with ThreadPoolExecutor(4) as pool:
        assert [said for said in pool.map(lint, FEATURES) if said] == []


@pytest.mark.parametrize("feature", FEATURES)
def test_both_helms_render_the_same(feature: str) -> None:
    assert sorted(map(json.dumps, rendered("helm3", feature))) == sorted(map(json.dumps, rendered("helm4", feature)))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object_strictly(version: str) -> None:
    judge = validator()
    known = {json.dumps(each, sort_keys=True) for _, each in everything() if not is_foreign(each)}
    wrong = []
    for text in sorted(known):
        each = json.loads(text)
        try:
            judge.validate(each, version, strict=True)
        except judge.ValidationError as problem:
            wrong.append(f"{each['kind']} {each['metadata']['name']}: {list(problem.path)}: {problem.message}")
    assert wrong == []
    assert len(known) > 40


def test_a_key_that_kubernetes_does_not_know_is_caught() -> None:
    """The validation is strict: a planted fault is found."""
    judge = validator()
    fault = json.loads(json.dumps(one(rendered("helm4", "defaults"), "Deployment")))
    fault["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(judge.ValidationError, match="enableServiceLink"):
        judge.validate(fault, NEWEST, strict=True)


def test_objects_of_others_have_the_fields_that_their_documentation_names() -> None:
    seen = set()
    for _, each in everything():
        if is_foreign(each):
            kind = f"{each['apiVersion']}/{each['kind']}"
            seen.add(kind)
            assert_shape(each["spec"], FOREIGN[kind], kind)
    assert seen == set(FOREIGN)


def assert_shape(value: Any, shape: Any, place: str) -> None:
    if isinstance(shape, dict):
        assert set(value) <= set(shape), place
        for key, inner in value.items():
            assert_shape(inner, shape[key], f"{place}.{key}")
    else:
        assert isinstance(value, shape), place


def test_no_cluster_older_than_the_oldest_that_was_tried_takes_the_chart() -> None:
    assert template("helm4", "--kube-version", OLDEST).status == 0
    refused = template("helm4", "--kube-version", "1.30.9")
    assert refused.status != 0
    assert "kubeVersion" in refused.err


@pytest.mark.parametrize("feature", FEATURES)
def test_no_two_objects_have_the_same_name(feature: str) -> None:
    keys = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in rendered("helm4", feature)
    ]
    assert len(keys) == len(set(keys))


def test_every_object_says_whose_it_is() -> None:
    for _, each in everything():
        if "helm.sh/chart" not in each["metadata"].get("labels", {}):
            assert each["metadata"]["name"] in ("rel-note", "rel-egress-gateway-second")  # extraObjects


def test_names_stay_short_enough_whatever_the_release_is_called() -> None:
    long = helm("helm4", "template", "r" * 53, str(CHART), *values_of("everything"))
    assert long.status == 0, long.err
    for each in yaml.safe_load_all(long.out):
        assert len(each["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in each["metadata"].get("labels", {}).values())


def test_another_namespace_than_the_releases_is_everybodys() -> None:
    found = objects(template("helm4", *values_of("everything"), *with_values(namespaceOverride="other")))
    own = [each for each in found if each["metadata"]["name"].startswith("rel-egress-gateway")]
    namespaces = {each["metadata"]["namespace"] for each in own if "namespace" in each["metadata"]}
    assert namespaces == {"other", "payments", "search", "egress"}
    assert [each["metadata"]["name"] for each in own if each["metadata"].get("namespace") == "egress"] == [
        "rel-egress-gateway-second"  # extraObjects, which asks for the release's
    ]
    lock = one(found, "NetworkPolicy", "gateway")
    assert lock["metadata"]["namespace"] == "other"


def test_labels_of_one_object_stand_above_those_of_all() -> None:
    labels = {"team": "b", "release": "prometheus"}
    monitor = {"serviceMonitor": {"enabled": True, "labels": labels}}
    found = objects(
        template("helm4", *with_values(commonLabels={"team": "a"}, metrics=monitor, service__labels=labels))
    )
    for each in (one(found, "ServiceMonitor"), one(found, "Service", "-gateway")):
        assert labels.items() <= each["metadata"]["labels"].items()
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "rel"
    assert one(found, "Deployment")["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("12345e7", {}, "release-12345e7-egress-gateway"),
        ("7-egress-gateway", {}, "release-7-egress-gateway"),
        ("r", {"fullnameOverride": "true"}, "true"),
        ("r", {"fullnameOverride": "x" * 38 + "---y"}, "x" * 38),
        ("r" * 53, {}, "r" * 40),
    ],
)
def test_a_service_has_a_name_that_it_may_have(release: str, values: dict[str, object], name: str) -> None:
    """RFC 1035, section 2.3.1: it begins with a letter and does not end with a hyphen."""
    found = objects(helm("helm4", "template", release, str(CHART), *with_values(**values)))
    assert {each["metadata"]["name"] for each in found if each["kind"] == "Service"} == {name, f"{name}-health"}


def test_names_that_look_like_numbers_stay_text() -> None:
    """Previews are often named after a commit, and 12345e7 is one."""
    run = helm("helm4", "template", "12345e7", str(CHART), "--namespace", "1234567", *values_of("everything"))
    for each in objects(run):
        assert not {1234567, 12345e7} & set(numbers(each)), each["metadata"]["name"]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from numbers(each)


def test_values_that_look_like_numbers_stay_text() -> None:
    monitor = {"serviceMonitor": {"enabled": True, "interval": "60"}}
    values = with_values(
        nameOverride="12", serviceAccount={"name": "34"}, priorityClassName="56", policy__existingConfigMap="78",
        metrics=monitor, admin={"existingSecret": "x", "key": "90"},
    )  # fmt: skip
    for each in objects(template("helm4", *values)):
        assert not {12, 34, 56, 60, 78, 90} & set(numbers(each)), each["metadata"]["name"]


def test_alerts_and_dashboard_are_those_of_the_repository() -> None:
    """One source: `make chart` copies them."""
    for name in ("alerts.yaml", "dashboard.json"):
        assert (CHART / "files" / name).read_bytes() == (ROOT / "config" / "observability" / name).read_bytes()
    rule = one(rendered("helm4", "everything"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    board = one(rendered("helm4", "everything"), "ConfigMap", "-dashboard")
    assert json.loads(board["data"]["egress-gateway.json"])["uid"] == "egress-gateway"


def test_the_chart_has_the_version_of_the_gateway() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()
