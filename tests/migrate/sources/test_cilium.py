"""Cilium's policies mean the same once they were imported, read beside them as its code makes expressions of them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Effect, Findings
from gateway.migrate.sources.cilium import patterns_of, read_cilium_policies
from tests.migrate.judging import EXAMPLES, LOOK, NOT_BROKEN, Gate, documents, gate, is_caught
from tests.migrate.sources.policies import ADDRESSES, BLOCKS, NAMES, PORTS, SPANS, Block, pod

PATTERNS = ("*.example.test", "**.example.test", "*", "**.", "other.test", "*.other.test", "EXAMPLE.test.")


@dataclass(frozen=True)
class Rule:
    """Names or blocks, on some ports."""

    patterns: tuple[str, ...]
    blocks: tuple[Block, ...]
    spans: tuple[tuple[int, int], ...]


RULES = st.one_of(
    st.builds(
        Rule, st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple), st.just(()), st.tuples(SPANS)
    ),
    st.builds(Rule, st.just(()), st.lists(BLOCKS, min_size=1, max_size=2).map(tuple), st.tuples(SPANS)),
)
DENIES = st.builds(Rule, st.just(()), st.lists(BLOCKS, min_size=1, max_size=1).map(tuple), st.tuples(SPANS))
POLICIES = st.tuples(st.lists(RULES, max_size=4), st.lists(DENIES, max_size=1))
Policy = tuple[list[Rule], list[Rule]]


def expression(pattern: str) -> "re.Pattern[str]":
    """`ToAnchoredRegexp` of pkg/fqdn/matchpattern."""
    name = pattern.strip().lower()
    name = name if name.endswith(".") else f"{name}."
    if not name.rstrip(".").strip("*"):
        return re.compile(r".*")
    start = ""
    if name.startswith("**."):
        start, name = r"([-a-zA-Z0-9_]+\.)+", name[3:]
    return re.compile(start + re.sub(r"\*+", "[-a-zA-Z0-9_]*", name.replace(".", r"\.")))


def matches(pattern: str, name: str) -> bool:
    return expression(pattern).fullmatch(f"{name}.") is not None


def naive(policy: Policy, name: str | None, address: str, port: int) -> bool:
    def on(rule: Rule) -> bool:
        return any(first <= port <= last for first, last in rule.spans)

    allows, denies = policy
    if any(on(rule) and any(address in block for block in rule.blocks) for rule in denies):
        return False
    by_name = any(
        on(rule) and any(matches(each, name) for each in rule.patterns) for rule in allows if name is not None
    )
    return by_name or any(on(rule) and any(address in block for block in rule.blocks) for rule in allows)


def manifest(policy: Policy) -> dict[str, Any]:
    def written(rule: Rule) -> dict[str, Any]:
        ports = [{"port": str(first), "endPort": last, "protocol": "TCP"} for first, last in rule.spans]
        said: dict[str, Any] = {"toPorts": [{"ports": ports}]}
        if rule.patterns:
            said["toFQDNs"] = [{"matchPattern": pattern} for pattern in rule.patterns]
        else:
            said["toCIDRSet"] = [{"cidr": block.cidr, "except": list(block.but)} for block in rule.blocks]
        return said

    allows, denies = policy
    spec = {"endpointSelector": {"matchLabels": {"any:app": "bot"}}, "egress": list(map(written, allows))}
    spec["egressDeny"] = list(map(written, denies))
    return {"kind": "CiliumNetworkPolicy", "metadata": {"name": "p", "namespace": "one"}, "spec": spec}


def imported(policy: Policy, breaks: Callable[[str], str] = NOT_BROKEN) -> Gate:
    return gate(read_cilium_policies(documents(manifest(policy))), breaks)


def disagreements(policy: Policy, breaks: Callable[[str], str] = NOT_BROKEN) -> Iterator[tuple[str, str, int]]:
    ours = imported(policy, breaks)
    for address in ADDRESSES:
        for port in PORTS:
            for host in (*NAMES, address):
                expected = naive(policy, host if host != address else None, address, port)
                if ours.passes(f"{host}:{port}", pod("one", app="bot"), address) != expected:
                    yield host, address, port


@given(POLICIES)
@LOOK
def test_an_imported_policy_decides_as_cilium_would(policy: Policy) -> None:
    assert list(disagreements(policy)) == []
    assert not imported(policy).passes("example.test:443", pod("one", app="else"))


@pytest.mark.parametrize(
    "fault",
    [
        lambda text: re.sub(r'\{name: ("\*\.[a-z.]+"), depth: 1\}', r"\1", text),  # any depth
        lambda text: text.replace("action: deny", "note: deny"),
        lambda text: text.replace("    within:", "    note: x  #"),
    ],
    ids=["depth", "deny", "within"],
)
def test_the_comparison_catches_a_planted_fault(fault: Callable[[str], str]) -> None:
    def shows(policy: Policy) -> bool:
        return next(disagreements(policy, fault), None) is not None

    assert is_caught(POLICIES, shows)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.example.com", {"www.example.com"}),
        ("**.example.com", {"www.example.com", "a.b.example.com"}),
        ("*", {"example.com", "www.example.com", "a.b.example.com", "notexample.com"}),
        ("example.com", {"example.com"}),
        ("*example.com", {"example.com"}),  # in Cilium notexample.com too: told, and not carried over
        ("***.example.com", set()),  # in Cilium as *.example.com
        ("sub*.example.com", set()),
        ("a.**.example.com", set()),
        ("a.*.example.com", set()),
    ],
)
def test_the_fixed_vectors_of_match_patterns(pattern: str, expected: set[str]) -> None:
    names = ("example.com", "www.example.com", "a.b.example.com", "notexample.com")
    policy: Policy = ([Rule((pattern,), (), ((443, 443),))], [])
    ours = imported(policy)
    passing = {name for name in names if ours.passes(f"{name}:443", pod("one", app="bot"))}
    assert passing == expected
    theirs = {name for name in names if matches(pattern, name)}
    assert passing <= theirs
    told = [text for text in ours.texts(Effect.LEFT_OUT) if pattern in text]
    assert bool(told) == (passing != theirs or pattern in ("sub*.example.com", "a.**.example.com"))


def test_a_number_of_labels_is_told_with_what_is_nearest_here() -> None:
    findings = Findings()
    [selector] = documents({"matchPattern": "*.*.Example.com"})
    assert patterns_of(selector, findings) == ()
    [remark] = findings.having(Effect.LEFT_OUT)
    assert remark.text == (
        'matchPattern *.*.example.com: so many labels and no more or fewer; here "*.example.com" is any number'
    )


def test_a_star_inside_of_a_name_is_told_with_what_is_to_be_done() -> None:
    findings = Findings()
    [selector] = documents({"matchPattern": "*.s3.*.example.com"})
    assert patterns_of(selector, findings) == ()
    [remark] = findings.having(Effect.LEFT_OUT)
    assert remark.text == "matchPattern *.s3.*.example.com: a star inside of a name: write out the names"


def test_every_wildcard_is_told_with_its_meaning() -> None:
    findings = Findings()
    [selector] = documents({"matchPattern": "*.example.com"})
    patterns_of(selector, findings)
    assert findings.wildcards == {
        "matchPattern *.example.com (file.yaml:1)": "one label below example.com, not a.b.example.com, "
        "not example.com itself"
    }


def test_the_example_is_imported() -> None:
    from gateway.migrate.reading import read_documents

    ours = gate(read_cilium_policies(read_documents((EXAMPLES / "cilium.yaml").read_text(), "cnp.yaml")))
    bot = pod("space", app="bot")
    assert ours.passes("api.example.com:443", bot)
    assert ours.passes("a.b.example.org:443", bot)
    assert not ours.passes("a.b.example.net:443", bot)
    assert not ours.passes("api.example.com:443", bot, "203.0.113.9")
    assert ours.passes("198.51.100.5:8005", bot)
    assert not ours.passes("198.51.100.200:8005", bot)
    assert not ours.passes("api.example.com:443", pod("space", app="ship"))
    assert ours.texts(Effect.WIDER) == []


def spec_with(**spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "one"}
    return {"kind": "CiliumNetworkPolicy", "metadata": meta, "spec": {"endpointSelector": {}, **spec}}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"toFQDNs": [{"matchName": "a.test"}], "toPorts": [{"ports": [{"port": "443"}], "rules": {"http": [{}]}}]},
         "toPorts with http: requests and names in TLS"),
        ({"toGroups": [{"aws": {}}]}, "toGroups has no counterpart"),
        ({"toCIDRSet": [{"cidrGroupRef": "x"}]}, "a CIDR group has no counterpart"),
        ({"toFQDNs": [{"matchName": "a.test"}], "toNew": [{}]}, "toNew has no counterpart"),
        ({"toFQDNs": [{"matchName": "a b.test"}]}, "'a b.test' is no host name"),
    ],
)  # fmt: skip
def test_a_rule_with_more_than_a_policy_can_say_is_left_out_whole(rule: dict[str, Any], told: str) -> None:
    ours = gate(read_cilium_policies(documents(spec_with(egress=[rule]))))
    assert ours.texts(Effect.LEFT_OUT) == [told]
    assert not ours.passes("a.test:443", pod("one"))
    denied = gate(read_cilium_policies(documents(spec_with(egressDeny=[rule]))))
    assert denied.texts(Effect.WIDER) == [told] or "toFQDNs" in rule


def test_entities_are_the_world_or_stay_where_they_are() -> None:
    ours = gate(read_cilium_policies(documents(spec_with(egress=[{"toEntities": ["world-ipv4", "cluster"]}, {}]))))
    assert ours.passes("some.test:443", pod("one"), "8.8.8.8")
    assert not ours.passes("some.test:443", pod("one"), "2606:2800::1")
    assert not ours.passes("10.1.2.3:443", pod("one"))
    assert "cluster is reached without the gateway" in ours.texts(Effect.NOTE)
    all_of_it = gate(read_cilium_policies(documents(spec_with(egress=[{"toEntities": ["world"]}]))))
    assert all_of_it.passes("some.test:22", pod("one"), "2606:2800::1")


@pytest.mark.parametrize("networks", [{"toCIDR": ["8.8.8.8/8"]}, {"toCIDRSet": [{"cidr": "8.8.8.8/8"}]}])
def test_bits_beyond_a_prefix_do_not_count_and_are_told(networks: dict[str, Any]) -> None:
    ours = gate(read_cilium_policies(documents(spec_with(egress=[networks]))))
    assert ours.passes("8.1.1.1:443", pod("one"))
    assert "8.8.8.8/8 has bits beyond its prefix: it stands for 8.0.0.0/8" in ours.texts(Effect.NOTE)


def test_a_denied_world_denies_names_and_addresses() -> None:
    spec = spec_with(egress=[{"toEntities": ["world"]}], egressDeny=[{"toPorts": [{"ports": [{"port": "25"}]}]}])
    ours = gate(read_cilium_policies(documents(spec)))
    assert ours.passes("some.test:443", pod("one"))
    assert not ours.passes("some.test:25", pod("one"))
    assert not ours.passes("8.8.8.8:25", pod("one"))


def test_a_denied_name_is_told_as_wider_for_there_is_no_such_thing() -> None:
    ours = gate(read_cilium_policies(documents(spec_with(egressDeny=[{"toFQDNs": [{"matchName": "a.test"}]}]))))
    assert ours.texts(Effect.WIDER) == ["toFQDNs in egressDeny has no counterpart"]


def test_what_is_denied_inside_of_the_cluster_is_told() -> None:
    rule = {"toEntities": ["host", "kube-apiserver"]}
    ours = gate(read_cilium_policies(documents(spec_with(egress=[{"toEntities": ["world"]}], egressDeny=[rule]))))
    assert ours.texts(Effect.WIDER) == ["kube-apiserver in egressDeny has no counterpart"]
    assert "host is reached without the gateway" in ours.texts(Effect.NOTE)


def test_an_entry_of_ports_without_ports_allows_nothing() -> None:
    rule = {"toFQDNs": [{"matchName": "a.test"}], "toPorts": [{"rules": {"dns": [{"matchPattern": "*"}]}}]}
    ours = gate(read_cilium_policies(documents(spec_with(egress=[rule]))))
    assert not ours.passes("a.test:443", pod("one"))
    assert ours.texts(Effect.LEFT_OUT) == ["toPorts without ports"]


def labelled(labels: dict[str, str], *expressions: dict[str, Any], rule: str = "egress") -> Gate:
    selector = {"matchLabels": labels, "matchExpressions": list(expressions)}
    return gate(
        read_cilium_policies(documents(spec_with(endpointSelector=selector, **{rule: [{"toEntities": ["world"]}]})))
    )


def test_a_policy_speaks_of_no_other_namespace_than_its_own() -> None:
    for ours in (
        labelled({"k8s:io.kubernetes.pod.namespace": "two"}),
        labelled({}, {"key": "io.kubernetes.pod.namespace", "operator": "In", "values": ["two", "three"]}),
    ):
        assert not ours.passes("a.test:443", pod("two"))
        assert ours.passes("a.test:443", pod("one"))
    assert labelled({"k8s:io.kubernetes.pod.namespace": "one"}).passes("a.test:443", pod("one"))


@pytest.mark.parametrize(
    "label", ["k8s:io.cilium.k8s.namespace.labels.env", "io.cilium.k8s.policy.cluster", "reserved:init"]
)
def test_a_label_that_no_pod_has_is_told_and_not_taken_for_one(label: str) -> None:
    told = f"{label} is no label of a pod"
    assert labelled({label: "x"}).texts(Effect.LEFT_OUT) == [told]
    assert labelled({label: "x"}, rule="egressDeny").texts(Effect.WIDER) == [told]


def test_a_label_that_is_asked_for_twice_has_one_value() -> None:
    ours = labelled({"app": "a"}, {"key": "k8s:app", "operator": "In", "values": ["a", "b"]})
    assert ours.passes("a.test:443", pod("one", app="a"))
    assert not ours.passes("a.test:443", pod("one", app="b"))
    never = labelled({"app": "a"}, {"key": "app", "operator": "In", "values": ["b"]}, rule="egressDeny")
    assert never.texts(Effect.WIDER) == []
    assert never.texts(Effect.NOTE)[0] == "no pod has two values of app"


def test_a_policy_for_all_pods_is_told_to_hold_for_all_clients() -> None:
    policy = {**spec_with(egress=[{"toFQDNs": [{"matchName": "a.test"}]}]), "kind": "CiliumClusterwideNetworkPolicy"}
    ours = gate(read_cilium_policies(documents(policy)))
    assert ours.passes("a.test:443")
    assert ours.texts(Effect.NOTE)[0] == "p speaks of every pod there, and of every client here"


def clusterwide(labels: dict[str, str], *expressions: Mapping[str, object], rule: str = "egress") -> Gate:
    selector = {"matchLabels": labels, "matchExpressions": list(expressions)}
    to = [{"toFQDNs": [{"matchName": "a.test"}]}] if rule == "egress" else [{"toEntities": ["world"]}]
    policy = {**spec_with(**{rule: to}), "kind": "CiliumClusterwideNetworkPolicy"}
    policy["spec"] = {**policy["spec"], "endpointSelector": selector}
    return gate(read_cilium_policies(documents(policy)))


def test_a_clusterwide_policy_for_named_namespaces_is_for_their_pods() -> None:
    several = {"key": "io.kubernetes.pod.namespace", "operator": "In", "values": ["one", "two"]}
    ours = clusterwide({"app": "a"}, several)
    assert ours.texts(Effect.LEFT_OUT) == []
    assert [ours.passes("a.test:443", pod(name, app="a")) for name in ("one", "two", "three")] == [True, True, False]
    assert not ours.passes("a.test:443", pod("one", app="b"))
    ours = clusterwide({"k8s:io.kubernetes.pod.namespace": "two"}, several)
    assert [ours.passes("a.test:443", pod(name)) for name in ("one", "two")] == [False, True]
    ours = clusterwide({"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": "two"})
    assert [ours.passes("a.test:443", pod(name)) for name in ("one", "two")] == [False, True]
    ours = clusterwide({"k8s:io.kubernetes.pod.namespace": "three"}, several)
    assert not any(ours.passes("a.test:443", pod(name)) for name in ("one", "two", "three"))


def test_a_clusterwide_selector_without_a_namespace_is_told() -> None:
    told = "a clusterwide selector without a namespace cannot be said"
    assert clusterwide({"app": "a"}).texts(Effect.LEFT_OUT) == [told]
    assert clusterwide({"app": "a"}, rule="egressDeny").texts(Effect.WIDER) == [told]
