"""The gateway in the forms that are compared, and the floor below it."""

from collections.abc import Mapping
from dataclasses import replace

import yaml

from benchmarks import layout
from benchmarks.policy import write_policy
from benchmarks.proxies.launch import Launch, Place


def gateway(place: Place) -> Launch:
    """`full.yaml` with the paths of this run, beside the generated policy."""
    return _prepare("gateway", place)


def pair(place: Place) -> Launch:
    """Two workers."""
    return _prepare("pair", place, workers=2)


def few_rules(place: Place) -> Launch:
    """Ten rules instead of a thousand."""
    return _prepare("rules-10", place, rules=10)


def many_rules(place: Place) -> Launch:
    """A hundred thousand."""
    return _prepare("rules-100k", place, rules=100_000)


def traced(place: Place) -> Launch:
    """The gateway tells a collector of one connection in a hundred, and its metrics every five seconds."""
    otlp = {"endpoint": f"http://127.0.0.1:{layout.COLLECTOR_PORT}", "sample": 0.01}
    return replace(
        _prepare("traced", place, otlp=otlp),
        beside=[place.python, "-m", "benchmarks.collector", str(layout.COLLECTOR_PORT)],
        environ={"OTEL_METRIC_EXPORT_INTERVAL": "5000"},
    )


def floor(place: Place) -> Launch:
    """It has no configuration and no log, and decides nothing."""
    command = [place.python, "-m", "benchmarks.floor", str(layout.PROXY_PORT)]
    return Launch("floor", command, place.write("floor.none", ""), place.logs / "none", plain=False, denies=False)


def _prepare(
    name: str, place: Place, workers: int = 1, rules: int = layout.RULES, otlp: Mapping[str, object] | None = None
) -> Launch:
    document = yaml.safe_load((layout.HERE / "full.yaml").read_text())
    log = place.logs / "access.json"
    policy = f"policy-{rules}.yaml"
    document["policy"] = policy
    document["telemetry"]["access_log"][0]["path"] = str(log)
    document["telemetry"]["otlp"] = otlp
    document["workers"] = workers
    path = place.write(f"{name}.yaml", yaml.safe_dump(document, sort_keys=False))
    if not (place.configurations / policy).exists():
        write_policy(place.configurations / policy, rules)
    return Launch(name, [*place.gateway, "run", "-c", str(path)], path, log, is_gateway=True)
