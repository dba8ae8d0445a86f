"""What pods may do, by default and with every feature: as little as they need."""

from typing import Any

import pytest

from tests.chart.rendering import (
    FEATURES,
    containers,
    everything,
    objects,
    one,
    pods,
    rendered,
    template,
    values_of,
    with_values,
)

ASKING = ("identity", "tokens")
"""Features that ask the API server."""


def test_no_container_may_more_than_it_needs() -> None:
    seen = 0
    for feature, workload, pod in pods():
        for container in containers(pod):
            seen += 1
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["privileged"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"]["drop"] == ["ALL"]
            changes_routes = workload["kind"] == "DaemonSet" and (
                container["name"] == "routes" or feature == "transparent-tproxy"
            )
            assert security["capabilities"].get("add", []) == (["NET_ADMIN"] if changes_routes else [])
            assert (security.get("runAsUser") == 0) is changes_routes
    assert seen > 25


def test_pods_are_not_root_and_confined_and_know_no_services() -> None:
    for feature, workload, pod in pods():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        if feature != "openshift":
            assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 65532
        assert pod["enableServiceLinks"] is False
        assert pod.get("hostNetwork", False) is (workload["kind"] == "DaemonSet")
        assert "hostPID" not in pod
        assert "hostIPC" not in pod
        assert not any("hostPath" in volume for volume in pod.get("volumes", ()))


def test_users_are_left_to_the_platform_where_it_assigns_them() -> None:
    pod = one(rendered("helm4", "openshift"), "Deployment")["spec"]["template"]["spec"]
    assert set(pod["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


def test_name_servers_are_asked_at_the_ports_of_their_pods_by_the_gateway_and_by_who_is_locked() -> None:
    """A policy looks at packets when the Service's port is the pod's already: on OpenShift 5353."""
    values = [*values_of("openshift"), *with_values(lock__namespaces=["shop"])]
    policies = [each for each in objects(template("helm4", *values)) if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        ports = policy["spec"]["egress"][0]["ports"]
        assert [(port["protocol"], port["port"]) for port in ports] == [
            *(("UDP", 53), ("TCP", 53)),
            *(("UDP", 5353), ("TCP", 5353)),
        ]


def test_only_pods_that_ask_the_api_server_have_a_token_for_it() -> None:
    for feature, workload, pod in pods():
        asks = feature in ASKING and workload["kind"] != "Pod"
        assert pod["automountServiceAccountToken"] is asks
    for feature, each in everything():
        if each["kind"] == "ServiceAccount":
            assert each["automountServiceAccountToken"] is False
        assert not each["kind"].startswith("ClusterRole") or feature in ASKING


def test_the_rights_at_the_api_server_are_those_that_are_asked_for() -> None:
    role = one(rendered("helm4", "identity"), "ClusterRole")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ]
    binding = one(rendered("helm4", "identity"), "ClusterRoleBinding")
    account = one(rendered("helm4", "identity"), "ServiceAccount")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "egress"}
    ]


def test_what_changes_while_the_pod_runs_is_mounted_so_that_it_does() -> None:
    """A subPath stays what it was."""
    for _, _, pod in pods():
        for container in containers(pod):
            for mount in container.get("volumeMounts", ()):
                assert "subPath" not in mount
                assert mount["readOnly"] is True


def test_keys_can_be_read_by_the_gateway_and_nobody_else() -> None:
    for _, _, pod in pods():
        for volume in pod.get("volumes", ()):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440


@pytest.mark.parametrize("feature", FEATURES)
def test_services_and_policies_select_the_pods_that_they_mean(feature: str) -> None:
    found = rendered("helm4", feature)
    labels = {
        each["kind"]: each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] in ("Deployment", "DaemonSet")
    }
    for each in found:
        selector: Any = None
        kind = "Deployment"
        if each["kind"] == "Service":
            selector = each["spec"]["selector"]
            kind = "DaemonSet" if each["metadata"]["name"].endswith("-transparent") else kind
        elif each["kind"] in ("PodDisruptionBudget", "Deployment", "DaemonSet"):
            selector = each["spec"]["selector"]["matchLabels"]
            kind = each["kind"] if each["kind"] in labels else kind
        elif each["kind"] == "NetworkPolicy" and each["metadata"]["namespace"] == "egress":
            selector = each["spec"]["podSelector"]["matchLabels"]
        if selector is not None:
            assert selector.items() <= labels[kind].items(), each["metadata"]["name"]
            assert not any(selector.items() <= other.items() for name, other in labels.items() if name != kind)


def test_labels_of_pods_hold_no_version_and_cannot_be_turned_against_the_selectors() -> None:
    values = with_values(
        podLabels={"app.kubernetes.io/component": "other", "team": "a"}, commonLabels={"team": "b", "cost": "c"}
    )
    deployment = one(objects(template("helm4", *values)), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (labels["team"], labels["cost"]) == ("a", "c")
    assert not [name for name in labels if name.endswith(("chart", "version"))]


def test_a_monitor_finds_the_health_ports_and_no_other_service() -> None:
    found = rendered("helm4", "transparent")
    wanted = one(found, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = [each for each in found if each["kind"] == "Service"]
    hit = {each["metadata"]["name"] for each in services if wanted <= each["metadata"]["labels"].items()}
    assert hit == {"rel-egress-gateway-health", "rel-egress-gateway-transparent"}


def test_spread_and_budget_follow_the_number_of_replicas() -> None:
    default = rendered("helm4", "defaults")
    spread = one(default, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    own = one(default, "Deployment")["spec"]["selector"]["matchLabels"]
    assert [each["labelSelector"]["matchLabels"] for each in spread] == [own, own]
    assert one(default, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert not [each for each in rendered("helm4", "single") if each["kind"] == "PodDisruptionBudget"]


def test_the_autoscaler_alone_says_how_many() -> None:
    found = rendered("helm4", "autoscaling")
    assert "replicas" not in one(found, "Deployment")["spec"]
    scaler = one(found, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 30)
    assert [each["type"] for each in scaler["metrics"]] == ["Resource", "Pods"]
    assert scaler["metrics"][1]["pods"]["target"] == {"type": "AverageValue", "averageValue": "2000"}


def test_a_probe_that_asks_in_another_way_replaces_the_charts() -> None:
    values = with_values(probes__liveness={"exec": {"command": ["true"]}, "periodSeconds": 30})
    (container,) = one(objects(template("helm4", *values)), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"] == {
        "exec": {"command": ["true"]}, "periodSeconds": 30, "failureThreshold": 6, "timeoutSeconds": 5,
    }  # fmt: skip
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_what_platforms_add_to_pods_reaches_them() -> None:
    first = {"name": "first", "image": "tools:1"}
    aliases = [{"ip": "192.0.2.7", "hostnames": ["api.example.com"]}]
    values = with_values(
        hostAliases=aliases, dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"]}, extraInitContainers=[first],
        transparent={"enabled": True, "interfaces": ["cni0"], "pass": ["10.96.0.10"]},
    )  # fmt: skip
    found = objects(template("helm4", *values))
    pod, captured = (one(found, kind)["spec"]["template"]["spec"] for kind in ("Deployment", "DaemonSet"))
    assert pod["hostAliases"] == captured["hostAliases"] == aliases
    assert pod["dnsConfig"] == captured["dnsConfig"] == {"nameservers": ["192.0.2.53"]}
    assert (pod["dnsPolicy"], captured["dnsPolicy"]) == ("None", "ClusterFirstWithHostNet")
    assert pod["initContainers"] == [first]
    assert [each["name"] for each in captured["initContainers"]] == ["routes"]


def test_pods_that_are_all_replaced_at_once_are_not_also_replaced_one_by_one() -> None:
    """Helm keeps the chart's rollingUpdate beside another type, which Kubernetes refuses."""
    deployment = one(objects(template("helm4", *with_values(updateStrategy={"type": "Recreate"}))), "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
