"""The chart, rendered by real Helm programs. What is rendered once is kept for all tests."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.requirements import unavailable

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "egress-gateway"
TOOLS = ROOT / "build" / "chart"
HELMS = ("helm3", "helm4")
RELEASE, NAMESPACE = "rel", "egress"
DEFAULTS = "defaults"
FEATURES = (DEFAULTS, *sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*.yaml")))
"""The chart's own values, and each file in ci/."""

Object = Mapping[str, Any]


class _Strict(yaml.CSafeLoader):
    """A key that stands twice is one that somebody loses."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice the same key: {keys}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class Run:
    """What a Helm program said."""

    status: int
    out: str
    err: str


def helm(program: str, *arguments: str) -> Run:
    """Run it where it finds no cluster. Skips or fails the test if it is not installed."""
    path = TOOLS / program
    if not path.exists():
        unavailable("Helm is not installed under build/chart; .ci/setup test does it")
    environ = {"HOME": str(TOOLS), "KUBECONFIG": str(TOOLS / "none"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([path, *arguments], capture_output=True, text=True, env=environ, timeout=60)
    return Run(done.returncode, done.stdout, done.stderr)


def values_of(feature: str) -> list[str]:
    """The arguments that choose a feature's values."""
    return [] if feature == DEFAULTS else ["--values", str(CHART / "ci" / f"{feature}-values.yaml")]


def template(program: str, *arguments: str) -> Run:
    """`helm template`, unless the arguments are refused."""
    return helm(program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments)


def with_values(**values: object) -> list[str]:
    """Arguments that set values by their dotted names (`__` for a dot)."""
    settings = (f"{name.replace('__', '.')}={json.dumps(value)}" for name, value in values.items())
    return [argument for setting in settings for argument in ("--set-json", setting)]


@cache
def _all_rendered() -> Mapping[tuple[str, str], Run]:
    pairs = [(program, feature) for program in HELMS for feature in FEATURES]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(pairs, pool.map(lambda pair: template(pair[0], *values_of(pair[1])), pairs), strict=True))


@cache
def rendered(program: str, feature: str) -> Sequence[Object]:
    """The objects that a feature's values make."""
    run = _all_rendered()[program, feature]
    assert run.status == 0, run.err
    return objects(run)


def objects(run: Run) -> Sequence[Object]:
    """What a successful run printed."""
    assert run.status == 0, run.err
    return [each for each in yaml.load_all(run.out, _Strict) if each]


def everything() -> Iterator[tuple[str, Object]]:
    """Every object of every feature, as Helm 4 renders it."""
    for feature in FEATURES:
        for each in rendered("helm4", feature):
            yield feature, each


def one(found: Sequence[Object], kind: str, name: str = "") -> Any:
    """The one object of a kind (and with a name that ends so)."""
    (only,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return only


def pod_of(workload: Object) -> Mapping[str, Any] | None:
    """The pod's `spec` in an object, if there is one in it."""
    if workload["kind"] == "Pod":
        return workload["spec"]  # type: ignore[no-any-return]  # YAML
    if workload["kind"] in ("Deployment", "DaemonSet"):
        return workload["spec"]["template"]["spec"]  # type: ignore[no-any-return]  # YAML
    return None


def pods() -> Iterator[tuple[str, Object, Mapping[str, Any]]]:
    """Every workload of every feature with its pod's `spec`."""
    for feature, each in everything():
        if (pod := pod_of(each)) is not None:
            yield feature, each, pod


def containers(pod: Mapping[str, Any]) -> Sequence[Any]:
    """The containers of a pod, those that begin included."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def settings_of(found: Sequence[Object], name: str = "-settings") -> Any:
    """gateway.yaml as data."""
    return yaml.safe_load(one(found, "ConfigMap", name)["data"]["gateway.yaml"])
