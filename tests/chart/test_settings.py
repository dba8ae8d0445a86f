"""Every gateway.yaml and policy that the chart writes is taken by the gateway, and says what the values say."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.mounted import Mounted, rendered_pod, without_service_links
from tests.chart.rendering import FEATURES, ROOT, Object, objects, one, rendered, settings_of, template, with_values

NEEDS_A_FILE_OF_OTHERS = {"single"}  # policy.existingConfigMap: there is no policy to look at


def workloads(feature: str) -> Iterator[str]:
    for kind in ("Deployment", "DaemonSet"):
        if any(each["kind"] == kind for each in rendered("helm4", feature)):
            yield kind


def check(files: list[Path], environ: dict[str, str]) -> str:
    """What `egress-gateway check` says of them; empty if it is content with all."""
    command = [sys.executable, "-m", "gateway", "check", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=without_service_links() | environ, timeout=100)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_gateway_takes_every_settings_file_and_every_policy(tmp_path: Path) -> None:
    by_environ: dict[str, tuple[dict[str, str], list[Path]]] = {}
    for feature in set(FEATURES) - NEEDS_A_FILE_OF_OTHERS:
        found = rendered("helm4", feature)
        for kind in workloads(feature):
            mounted = Mounted(tmp_path / feature / kind, rendered_pod(found, kind), found)
            by_environ.setdefault(str(mounted.environ), (mounted.environ, []))[1].append(mounted.settings_file)
    assert [check(files, environ) for environ, files in by_environ.values()] == [""] * len(by_environ)
    daemon_sets = 2
    looked_at = len(FEATURES) - len(NEEDS_A_FILE_OF_OTHERS) + daemon_sets
    assert sum(len(files) for _, files in by_environ.values()) == looked_at


def test_files_of_the_policy_are_passed_on_letter_for_letter() -> None:
    """Also those that a block of YAML could not hold as they are."""
    texts = {"a.yaml": "  # indented\nversion: 1\n", "123": "a.example\n\n\n", "b.txt": "no end of line", "c.txt": ""}
    found = objects(template("helm4", *with_values(policy={"files": texts})))
    assert one(found, "ConfigMap", "-policy")["data"] == texts


def test_a_misspelt_key_below_gateway_is_caught_by_the_gateway(tmp_path: Path) -> None:
    """The check looks at what was rendered: a planted fault is found."""
    found = objects(template("helm4", *with_values(gateway={"timeouts": {"idel": "5m"}})))
    mounted = Mounted(tmp_path, rendered_pod(found), found)
    assert "timeouts.idel: unknown key" in check([mounted.settings_file], {})


def test_the_values_on_the_page_render_and_are_taken(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (block,) = re.findall(r"^```yaml\n# mine\.yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    values = tmp_path / "mine.yaml"
    values.write_text(block)
    rendering = template("helm4", "--values", str(values))
    assert rendering.err == ""  # a default that is no text would be told to be overwritten
    found = objects(rendering)
    mounted = Mounted(tmp_path, rendered_pod(found), found)
    assert check([mounted.settings_file], {}) == ""
    assert one(found, "Pod")["spec"]["containers"][0]["args"][-1] == "github.com"


def test_list_files_lie_beside_the_policy_that_names_them() -> None:
    policy = one(rendered("helm4", "everything"), "ConfigMap", "-policy")["data"]
    assert sorted(policy) == ["clients.yaml", "hosts.txt", "payments.yaml"]
    assert "hosts_file: hosts.txt" in policy["payments.yaml"]
    assert policy["hosts.txt"].startswith("# one a line\n")


def test_what_the_user_says_goes_over_what_the_chart_proposes_and_under_what_it_alone_knows() -> None:
    settings = settings_of(rendered("helm4", "everything"))
    assert settings["cluster"] == {"domains": ["cluster.local"], "cidrs": ["10.96.0.0/12"]}
    assert settings["identity"]["sources"] == ["mtls", "basic", "address"]
    assert settings["identity"]["basic"] == {"htpasswd": "/etc/egress-gateway/basic/htpasswd"}
    assert [listener["bind"] for listener in settings["listeners"]] == ["[::]:3128", "[::]:3129"]
    assert settings["admin"]["bind"] == "127.0.0.1:9128"
    assert settings["limits"] == {"on_store_failure": "deny", "replicas": 3}


def test_limits_know_how_many_gateways_there_may_be() -> None:
    values = with_values(
        limits__existingSecret="redis",
        networkPolicy__extraEgress=[{}],
        autoscaling={"enabled": True, "maxReplicas": 12},
    )
    assert settings_of(objects(template("helm4", *values)))["limits"]["replicas"] == 12


@pytest.mark.parametrize("feature", FEATURES)
def test_commands_in_a_pod_begin_beside_its_gateway_yaml(feature: str) -> None:
    for kind in workloads(feature):
        gateway = rendered_pod(rendered("helm4", feature), kind)["containers"][0]
        assert gateway["workingDir"] == str(Path(gateway["args"][-1]).parent)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_pod_has_time_to_drain(feature: str) -> None:
    found = rendered("helm4", feature)
    for kind in workloads(feature):
        name = "-settings" if kind == "Deployment" else "-transparent"
        drain = settings_of(found, name)["drain"]["timeout"]
        pod = rendered_pod(found, kind)
        sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] == sleep + int(drain.removesuffix("s")) + 10


def annotations(found: list[Object]) -> object:
    return one(found, "Deployment")["spec"]["template"]["metadata"]["annotations"]


def test_only_what_the_running_gateway_does_not_take_over_restarts_pods() -> None:
    """docs/operations.md, Reload, names these keys."""

    def with_settings(**values: object) -> object:
        return annotations(list(objects(template("helm4", *with_values(**values)))))

    before = annotations(list(rendered("helm4", "defaults")))
    assert with_settings(policy__files={"policy.yaml": {"rules": [{"name": "a", "hosts": ["a.example"]}]}}) == before
    assert with_settings(gateway={"timeouts": {"idle": "5m"}, "telemetry": {"name": "x"}}) == before
    assert with_settings(drain__timeoutSeconds=60) == before
    for key in ({"workers": 2}, {"http_parser": "h11"}, {"telemetry": {"metrics": {"also": ["istio"]}}}):
        assert with_settings(gateway=key) != before
    assert with_settings(ports__proxy=8080) != before


def test_texts_are_passed_on_letter_for_letter() -> None:
    text = 'version: 1\nrules:\n  - {name: "on", hosts: [a.example], note: "{{ not a template }} ${x}"}\n'
    found = objects(template("helm4", *with_values(policy__files={"policy.yaml": text})))
    assert one(found, "ConfigMap", "-policy")["data"]["policy.yaml"] == text
    assert yaml.safe_load(text)["rules"][0]["name"] == "on"
