"""NetworkPolicies mean the same once they were imported, read beside them as the API's comments have it."""

import json
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Effect
from gateway.migrate.reading import read_documents
from gateway.migrate.rules import rules_of
from gateway.migrate.sources.kubernetes import others_than
from gateway.migrate.sources.network_policy import KINDS, read_network_policies
from tests.migrate.judging import EXAMPLES, LOOK, NOT_BROKEN, Gate, documents, gate, is_caught
from tests.migrate.sources.policies import ADDRESSES, BLOCKS, PORTS, SPANS, Block, pod

Policy = dict[str, Any]
Rule = tuple[list[Block], list[tuple[int, int]]]
RULES = st.tuples(st.lists(BLOCKS, max_size=2), st.lists(SPANS, max_size=2))
POLICIES = st.lists(st.tuples(st.sampled_from(["one", "two"]), st.lists(RULES, max_size=3)), min_size=1, max_size=3)


def manifest(number: int, namespace: str, rules: list[Rule]) -> Policy:
    egress = [
        {
            "to": [{"ipBlock": {"cidr": block.cidr, "except": list(block.but)}} for block in blocks],
            "ports": [{"port": first, "endPort": last} for first, last in spans],
        }
        for blocks, spans in rules
    ]
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}
    meta = {"name": f"policy-{number}", "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def naive(policies: list[tuple[str, list[Rule]]], namespace: str, address: str, port: int) -> bool:
    """Some rule of some policy that selects the pod: any of its peers and any of its ports, each if it lists any."""
    rules = [rule for where, rules in policies if where == namespace for rule in rules]
    return any(
        (not blocks or any(address in block for block in blocks))
        and (not spans or any(first <= port <= last for first, last in spans))
        for blocks, spans in rules
    )


def imported(policies: list[tuple[str, list[Rule]]], breaks: Callable[[str], str] = NOT_BROKEN) -> Gate:
    objects = [manifest(number, *policy) for number, policy in enumerate(policies)]
    return gate(read_network_policies(documents(*objects)), breaks)


def disagreements(
    policies: list[tuple[str, list[Rule]]], breaks: Callable[[str], str] = NOT_BROKEN
) -> Iterator[tuple[str, str, int]]:
    """By the address itself and by a name that leads there."""
    ours = imported(policies, breaks)
    for namespace in ("one", "two", "three"):
        for address in ADDRESSES:
            for port in PORTS:
                expected = naive(policies, namespace, address, port)
                for host in (address, "some.test"):
                    if ours.passes(f"{host}:{port}", pod(namespace), address) != expected:
                        yield namespace, host, port


@given(POLICIES)
@LOOK
def test_imported_policies_decide_as_kubernetes_would(policies: list[tuple[str, list[Rule]]]) -> None:
    assert list(disagreements(policies)) == []


def test_the_comparison_catches_networks_that_are_forgotten() -> None:

    drops: Callable[[str], str] = lambda text: text.replace("    within:", "    note: x  #")  # noqa: E731
    assert is_caught(POLICIES, lambda policies: next(disagreements(policies, drops), None) is not None)


def test_the_example_is_imported() -> None:
    text = (EXAMPLES / "network-policy.yaml").read_text()
    ours = gate(read_network_policies(read_documents(text, "np.yaml")))
    front, other = pod("payments", app="api", tier="front"), pod("payments", app="api", tier="else")
    assert ours.passes("93.184.216.34:443", front)
    assert ours.passes("some.test:5432", front, "93.184.216.34")
    assert not ours.passes("some.test:5432", front, "93.184.216.200")
    assert ours.passes("10.20.3.4:5432", front)
    assert not ours.passes("some.test:443", front, "10.20.3.4")  # needs addresses.allow, as is told
    assert not ours.passes("93.184.216.34:443", other)
    assert ours.passes("some.test:443", pod("shop"), "8.8.8.8")
    assert not ours.passes("10.1.1.1:443", pod("shop"))
    assert ours.texts(Effect.LEFT_OUT) == ours.texts(Effect.WIDER) == []
    assert "UDP does not go through the gateway" in ours.texts(Effect.NOTE)


def test_what_a_group_cannot_say_is_left_out() -> None:
    selector = {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]}
    policy = manifest(1, "one", [([], [])])
    policy["spec"]["podSelector"] = selector
    ours = gate(read_network_policies(documents(policy)))
    assert ours.texts(Effect.LEFT_OUT) == ["a group can only name labels that must be there and their values"]
    assert not ours.passes("some.test:443", pod("one", tier="front"))


def test_a_policy_of_ingress_only_and_named_ports_are_told() -> None:
    ingress = {"kind": "NetworkPolicy", "metadata": {"name": "in"}, "spec": {"podSelector": {}, "ingress": []}}
    named = manifest(1, "one", [([], [])])
    named["spec"]["egress"][0]["ports"] = [{"port": "https"}]
    ours = gate(read_network_policies(documents(ingress, named)))
    assert "in says nothing of egress" in ours.texts(Effect.NOTE)
    assert ours.texts(Effect.LEFT_OUT) == ["the port https is a name, which pods give a meaning"]
    assert not ours.passes("some.test:443", pod("one"))


def test_a_policy_of_another_group_is_none_of_ours() -> None:
    calico = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "p"}}
    spec = {"selector": "all()", "types": ["Egress"], "egress": [{}]}
    ours = gate(read_network_policies(documents({**calico, "spec": spec})))
    assert not ours.passes("a.test:443", pod("default"))
    assert "NetworkPolicy of projectcalico.org/v3 is not read" in ours.texts(Effect.NOTE)


def test_bits_beyond_a_prefix_do_not_count_and_are_told_with_their_place() -> None:
    """Kubernetes takes such networks, and masks them."""
    block = Block("93.184.216.34/24", ("93.184.216.201/30",))
    ours = gate(read_network_policies(documents(manifest(1, "one", [([block], [])]))))
    assert ours.passes("93.184.216.1:443", pod("one"))
    assert not ours.passes("93.184.217.1:443", pod("one"))
    assert not ours.passes("93.184.216.201:443", pod("one"))
    told = [line for line in ours.imported.findings.lines(Effect.NOTE) if "bits" in line]
    assert told == [
        "file.yaml:11: 93.184.216.34/24 has bits beyond its prefix: it stands for 93.184.216.0/24",
        "file.yaml:13: 93.184.216.201/30 has bits beyond its prefix: it stands for 93.184.216.200/30",
    ]


def test_items_of_a_list_are_of_its_kind_and_version_where_they_do_not_say() -> None:
    """`kubectl get --raw` prints what the API server answers."""
    policy = manifest(1, "one", [([], [])])
    bare = {key: value for key, value in policy.items() if key not in ("kind", "apiVersion")}
    list_ = {"kind": "NetworkPolicyList", "apiVersion": "networking.k8s.io/v1", "items": [bare]}
    raw = read_documents(json.dumps(list_, separators=(",", ":")), "raw.json")
    assert others_than(raw, KINDS) is None
    assert gate(read_network_policies(raw)).passes("some.test:443", pod("one"))
    calico = documents({**list_, "apiVersion": "projectcalico.org/v3"})
    assert others_than(calico, KINDS) == ["NetworkPolicy of projectcalico.org/v3"]
    assert others_than(documents({**list_, "kind": "List"}), KINDS) == ["an object without kind"]
    assert others_than(documents({**list_, "kind": "List", "items": [policy]}), KINDS) is None


def test_a_policy_without_a_namespace_says_whose_it_is_taken_for() -> None:
    policy = {"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"podSelector": {}, "egress": [{}]}}
    ours = gate(read_network_policies(documents(policy)))
    assert ours.passes("a.test:443", pod("default"))
    assert ours.texts(Effect.NOTE)[0] == "p names no namespace; where that counts it is default"


def test_a_list_of_thousands_of_networks_is_imported_in_a_moment() -> None:
    """As a provider publishes its ranges: they were joined one by one, which took minutes."""
    blocks = [{"ipBlock": {"cidr": f"93.{number >> 8}.{number & 255}.{number % 7}/32"}} for number in range(3000)]
    meta = {"name": "p", "namespace": "one"}
    policy = {
        "kind": "NetworkPolicy",
        "metadata": meta,
        "spec": {"policyTypes": ["Egress"], "egress": [{"to": blocks}]},
    }
    read = documents(policy)
    began = process_time()
    rules = rules_of(read_network_policies(read))
    assert process_time() - began < 5.0
    assert len(rules) == 2
