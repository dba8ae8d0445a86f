"""What `helm install` says: the variables to paste, one command to try them, and what is not safe."""

import re
from functools import cache
from typing import Any

import yaml

from tests.chart.rendering import CHART, NAMESPACE, RELEASE, helm, values_of, with_values

URL = "http://rel-egress-gateway.egress.svc.cluster.local:3128"


@cache
def notes(*arguments: str) -> str:
    """Helm 3 asks the cluster before it prints any, even if it is to change nothing."""
    run = helm("helm4", "install", RELEASE, str(CHART), "--dry-run=client", "--namespace", NAMESPACE, *arguments)
    assert run.status == 0, run.err
    return run.out.partition("NOTES:\n")[2]


def variables(text: str) -> dict[str, str]:
    """The block in the notes, read as a pod's specification would be."""
    block = re.search(r"^env:\n(?:  .*\n)+", text, re.MULTILINE)
    assert block is not None, text
    entries: list[Any] = yaml.safe_load(block.group())["env"]
    return {entry["name"]: entry["value"] for entry in entries}


def test_the_variables_are_given_in_both_cases() -> None:
    found = variables(notes())
    assert found["HTTP_PROXY"] == found["http_proxy"] == found["HTTPS_PROXY"] == found["https_proxy"] == URL
    assert found["NO_PROXY"] == found["no_proxy"]
    assert found["NODE_USE_ENV_PROXY"] == "1"


def test_what_is_in_the_cluster_goes_past_the_proxy_in_every_spelling() -> None:
    listed = variables(notes())["NO_PROXY"].split(",")
    for name in ("svc", "svc.cluster.local", "cluster.local"):
        assert {name, f".{name}"} <= set(listed)
    assert "$(KUBERNETES_SERVICE_HOST)" in listed  # expanded by Kubernetes, whose Service it is
    assert {"localhost", "127.0.0.1", "::1"} <= set(listed)


def test_clients_of_inspected_destinations_are_told_whom_to_trust() -> None:
    found = variables(notes(*values_of("cert-manager")))
    assert found["SSL_CERT_FILE"] == found["GIT_SSL_CAINFO"] == "/etc/egress-gateway-ca/ca-bundle.pem"
    assert "SSL_CERT_FILE" not in variables(notes())


def test_there_is_one_command_to_try_it() -> None:
    assert f"curl -v --proxy {URL} https://example.com/" in notes()
    assert "helm test rel --namespace egress" in notes()


def test_what_is_not_safe_is_said() -> None:
    assert "There are no rules yet, so everything is refused." in notes()
    assert "nothing prevents pods from bypassing the gateway" in notes()
    everything = notes(*values_of("everything"))
    assert "WARNING" not in everything
    assert "no rules yet" not in everything
    single = notes(*values_of("single"))
    assert "networkPolicy.enabled is false" in single
    assert "no rules yet" not in single  # nobody knows what is in a ConfigMap of others
    tproxy = notes(*values_of("transparent-tproxy"))
    assert "runs as root with NET_ADMIN" in tproxy
    assert "the DaemonSet's rules outlive it" in tproxy
    assert "http://127.0.0.1:9129/ca-bundle.pem" in notes(
        *with_values(inspection={"enabled": True, "existingSecret": "x"})
    )
