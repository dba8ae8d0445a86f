"""ServiceEntries mean the same once they were imported, read beside them as Istio's reference has it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Effect, Unreadable
from gateway.migrate.reading import read_documents
from gateway.migrate.sources.istio import read_istio
from gateway.model.intent import Protocol
from tests.migrate.judging import EXAMPLES, LOOK, NOT_BROKEN, Gate, documents, gate, is_caught
from tests.migrate.sources.policies import NAMES, PORTS, pod

HOSTS = ("example.test", "*.example.test", "*.a.example.test", "other.test")


@dataclass(frozen=True)
class Entry:
    """A ServiceEntry, as far as it says who may go where."""

    namespace: str
    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    exported: tuple[str, ...]


ENTRIES = st.builds(
    Entry,
    st.sampled_from(["one", "two"]),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(PORTS), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from([(), ("*",), (".",), ("two",), (".", "three"), ("~",)]),
)


def manifest(number: int, entry: Entry, **more: Any) -> dict[str, Any]:
    ports = [{"number": port, "name": f"p{port}", "protocol": "TLS"} for port in entry.ports]
    spec = {"hosts": list(entry.hosts), "ports": ports, "exportTo": list(entry.exported), "resolution": "DNS", **more}
    return {"kind": "ServiceEntry", "metadata": {"name": f"e{number}", "namespace": entry.namespace}, "spec": spec}


def naive(entries: list[Entry], namespace: str, host: str, port: int) -> bool:
    """TLS is matched by SNI; `*.x` is a suffix; an entry is seen where it is exported to."""

    def seen(entry: Entry) -> bool:
        own = entry.namespace == namespace and "." in entry.exported
        return not entry.exported or "*" in entry.exported or own or namespace in entry.exported

    def names(entry: Entry) -> bool:
        return any(host.endswith(each[1:]) if each.startswith("*") else host == each for each in entry.hosts)

    return any(port in entry.ports and seen(entry) and names(entry) for entry in entries)


def disagreements(entries: list[Entry], breaks: Callable[[str], str] = NOT_BROKEN) -> Iterator[tuple[str, str, int]]:
    ours = gate(read_istio(documents(*(manifest(number, entry) for number, entry in enumerate(entries)))), breaks)
    for namespace in ("one", "two", "three", "four"):
        for host in NAMES:
            for port in PORTS:
                if ours.passes(f"{host}:{port}", pod(namespace)) != naive(entries, namespace, host, port):
                    yield namespace, host, port


@given(st.lists(ENTRIES, min_size=1, max_size=3))
@LOOK
def test_imported_entries_decide_as_istio_would(entries: list[Entry]) -> None:
    assert list(disagreements(entries)) == []


@pytest.mark.parametrize(
    "fault",
    [lambda text: text.replace('"*.', '".'), lambda text: text.replace("    clients:", "    note: x  #")],
    ids=["apex", "export"],
)
def test_the_comparison_catches_a_planted_fault(fault: Callable[[str], str]) -> None:
    def shows(entries: list[Entry]) -> bool:
        return next(disagreements(entries, fault), None) is not None

    assert is_caught(st.lists(ENTRIES, min_size=1, max_size=3), shows)


def test_the_fixed_vectors_of_a_wildcard() -> None:
    ours = gate(read_istio(documents(manifest(1, Entry("one", ("*.example.com",), (443,), ())))))
    names = ("example.com", "www.example.com", "a.b.example.com", "notexample.com")
    assert [ours.passes(f"{name}:443") for name in names] == [False, True, True, False]


def example() -> Gate:
    return gate(read_istio(read_documents((EXAMPLES / "istio.yaml").read_text(), "istio.yaml")))


def test_the_example_is_imported() -> None:
    ours, shop = example(), pod("shop")
    assert ours.passes("api.example.com:443", shop)
    assert not ours.passes("api.example.com:443", pod("other"))
    assert ours.passes("198.51.100.9:5432", shop)
    assert not ours.passes("198.51.100.9:443", shop)
    assert ours.passes("db.example.com:5432", shop, "198.51.100.9")
    assert not ours.passes("db.example.com:5432", shop, "93.184.216.34")
    assert ours.passes("pinned.example.com:443", shop, "198.51.100.7")
    assert not ours.passes("pinned.example.com:443", shop, "93.184.216.34")
    permit = ours.decides("db.example.com:5432", shop)
    assert permit is not None
    assert permit.terms.protocol is Protocol.TCP
    assert ours.texts(Effect.LEFT_OUT) == ours.texts(Effect.WIDER) == []


@pytest.mark.parametrize(
    ("port", "told"),
    [
        (
            {"number": 80, "protocol": "HTTP", "targetPort": 443},
            "port 80 leads to another: clients must ask for that one",
        ),
        (
            {"number": 80, "protocol": "HTTP", "name": "moved"},
            "port 80 leads to another: clients must ask for that one",
        ),
        ({"number": 9, "protocol": "QUIC"}, "the protocol QUIC is not known here"),
    ],
)
def test_a_port_that_cannot_be_carried_over_is_left_out(port: dict[str, Any], told: str) -> None:
    endpoints = [{"address": "198.51.100.7", "ports": {"moved": 8080}}]
    entry = manifest(1, Entry("one", ("a.test",), (443,), ()), ports=[port], endpoints=endpoints)
    ours = gate(read_istio(documents(entry)))
    assert ours.texts(Effect.LEFT_OUT) == [told]
    assert not ours.passes(f"a.test:{port['number']}")


def database(resolution: str, protocol: str = "TCP") -> dict[str, Any]:
    port = {"number": 3306, "protocol": protocol, "name": "db"}
    more = {"resolution": resolution, "addresses": ["203.0.112.0/24"], "ports": [port]}
    return manifest(1, Entry("one", ("db.test",), (3306,), ()), **more)


def test_addresses_that_stand_for_where_a_host_leads_are_not_opened_themselves() -> None:
    ours = gate(read_istio(documents(database("DNS"))))
    assert ours.passes("db.test:3306")
    assert not ours.passes("203.0.112.9:3306")
    assert ours.texts(Effect.LEFT_OUT) == [
        "e1: its addresses stand for where its hosts lead; here clients ask for the hosts"
    ]


def test_a_network_that_is_none_ends_the_import() -> None:
    entry = database("NONE")
    entry["spec"]["addresses"] = ["203.0.112.9/33"]
    with pytest.raises(Unreadable, match=r"'203.0.112.9/33' is no network$"):
        read_istio(documents(entry))


@pytest.mark.parametrize(("protocol", "anywhere"), [("TCP", False), ("TLS", False), ("HTTP", True)])
def test_what_goes_on_to_where_the_client_dialled_is_held_to_the_addresses_of_its_entry(
    protocol: str, anywhere: bool
) -> None:
    ours = gate(read_istio(documents(database("NONE", protocol))))
    assert ours.passes("db.test:3306", leads_to="203.0.112.9")
    assert ours.passes("db.test:3306") is anywhere


@pytest.mark.parametrize(("host", "told"), [("db.test", False), ("*.db.test", True)])
def test_private_endpoints_are_opened_for_exact_hosts_and_else_said_to_need_more(host: str, told: bool) -> None:
    entry = manifest(1, Entry("one", (host,), (443,), ()), endpoints=[{"address": "10.1.2.3"}])
    ours = gate(read_istio(documents(entry)))
    assert ours.passes("db.test:443", leads_to="10.1.2.3") is not told
    assert ("e1: names that lead there need addresses.allow in gateway.yaml" in ours.texts(Effect.NOTE)) is told


def routes(host: str, *http: dict[str, Any]) -> dict[str, Any]:
    spec = {"hosts": [host], "http": list(http)}
    return {"kind": "VirtualService", "metadata": {"name": "r", "namespace": "one"}, "spec": spec}


SOME, TIMED = (
    {"match": [{"uri": {"prefix": "/status"}}]},
    {"match": [{"port": 80, "gateways": ["mesh"]}], "timeout": "3s"},
)


@pytest.mark.parametrize(
    ("routing", "told"),
    [
        (routes("a.example.test", SOME), ["VirtualService r lets only some requests to a.example.test through"]),
        (routes("*.example.test", SOME), ['VirtualService r lets only some requests to "*.example.test" through']),
        (
            routes("a.example.test", {"fault": {"abort": {"httpStatus": 403}}}),
            ["VirtualService r lets only some requests to a.example.test through"],
        ),
        (
            routes("a.example.test", SOME | {"directResponse": {"status": 403}}, TIMED),
            ["VirtualService r lets only some requests to a.example.test through"],
        ),
        (routes("a.example.test", SOME, TIMED), []),
        (routes("a.example.test"), []),
        (routes("inside", SOME), []),
    ],
)
def test_routes_that_keep_requests_from_a_host_are_told_as_wider(routing: dict[str, Any], told: list[str]) -> None:
    entry = manifest(1, Entry("one", ("a.example.test", "*.a.example.test"), (80,), ()))
    ours = gate(read_istio(documents(routing, sidecar("ALLOW_ANY", "*/*"), entry)))
    assert ours.texts(Effect.WIDER) == told


def sidecar(mode: str, hosts: str) -> dict[str, Any]:
    spec = {"outboundTrafficPolicy": {"mode": mode}, "egress": [{"hosts": [hosts]}]}
    return {"kind": "Sidecar", "metadata": {"name": "s", "namespace": "one"}, "spec": spec}


def test_allow_any_opens_everything_and_says_so() -> None:
    ours = gate(read_istio(documents(sidecar("ALLOW_ANY", "*/*"))))
    assert ours.passes("some.test:22", pod("one"))
    assert not ours.passes("some.test:22", pod("two"))
    assert any("EVERYTHING" in text for text in ours.texts(Effect.NOTE))


def test_what_narrows_and_is_not_carried_over_is_told_as_wider() -> None:
    authorization = {"kind": "AuthorizationPolicy", "metadata": {"name": "deny"}, "spec": {}}
    ours = gate(read_istio(documents(sidecar("REGISTRY_ONLY", "./*"), authorization)))
    assert ours.texts(Effect.WIDER) == [
        "s: egress.hosts narrows what its workloads know of",
        "AuthorizationPolicy deny is not read",
    ]


def test_a_sidecar_that_listens_on_some_ports_only_is_told_as_wider() -> None:
    narrowed = sidecar("ALLOW_ANY", "*/*")
    narrowed["spec"]["egress"][0]["port"] = {"number": 9080, "protocol": "HTTP", "name": "x"}
    assert gate(read_istio(documents(narrowed))).texts(Effect.WIDER) == ["s: egress narrows what its workloads reach"]


def test_a_port_that_is_true_is_none() -> None:
    entry = manifest(0, Entry("one", ("example.test",), (443,), ()))
    entry["spec"]["ports"][0]["number"] = True
    with pytest.raises(Unreadable, match="must be a port"):
        read_istio(read_documents(json.dumps(entry), "entries.yaml"))
