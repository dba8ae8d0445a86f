"""The lock of a namespace: nothing but DNS and the gateway."""

from typing import Any

import pytest
import yaml

from gateway.lock.network_policy import InvalidName, Lock, Peer, lock_manifest, parse_labels
from tests.policy.builders import networks

GATEWAY = Peer("egress-gateway", {"app.kubernetes.io/name": "egress-gateway"})
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})


def manifest(**more: Any) -> dict[str, Any]:
    made = yaml.safe_load(lock_manifest(Lock("payments", GATEWAY, (3128,), DNS, **more)))
    assert isinstance(made, dict)
    return made


def test_nothing_but_dns_and_the_gateway_is_left() -> None:
    policy = manifest()
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    assert policy["metadata"] == {"name": "egress-gateway-only", "namespace": "payments"}
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Egress"]
    dns, gateway = policy["spec"]["egress"]
    assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    assert gateway["ports"] == [{"protocol": "TCP", "port": 3128}]
    [peer] = gateway["to"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "egress-gateway"}}
    assert peer["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "egress-gateway"}}


def test_some_pods_and_name_servers_that_are_no_pods() -> None:
    policy = manifest(pods={"tier": "batch"}, resolvers=networks("169.254.20.10 fd00::/64"))
    assert policy["spec"]["podSelector"] == {"matchLabels": {"tier": "batch"}}
    assert policy["spec"]["egress"][0]["to"][1:] == [
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
        {"ipBlock": {"cidr": "fd00::/64"}},
    ]


def test_name_servers_whose_pods_listen_elsewhere_than_their_service() -> None:
    assert [port["port"] for port in manifest(dns_ports=(53, 5353))["spec"]["egress"][0]["ports"]] == [
        53,
        53,
        5353,
        5353,
    ]


def test_labels_are_read() -> None:
    assert parse_labels("a=b,x.y/c=1") == {"a": "b", "x.y/c": "1"}
    assert parse_labels("") == {}


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b c", 'a="x"', "a=b}"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(InvalidName, match="is not a label"):
        parse_labels(text)


@pytest.mark.parametrize("name", ["", "A", "a.b", "x\ny", "a" * 64])
def test_what_is_no_namespace_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="is not the name of a namespace"):
        lock_manifest(Lock(name, GATEWAY, (3128,), DNS))
