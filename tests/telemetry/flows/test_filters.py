"""What somebody wants to see."""

import pytest

from gateway.telemetry.flows.filters import KEYS, MOST_VALUES, BadFilter, parse_filter, verdict_in

FLOW = {
    "decision": "allow",
    "ended": "closed",
    "client_address": "10.0.0.1",
    "user": "ci",
    "namespace": "payments",
    "service_account": "biller",
    "pod": "api-7d9c5-x2x4q",
    "workload": "Deployment/api",
    "groups": ["payments", "all"],
    "host": "api.example.com",
    "dialled_address": "203.0.113.5",
    "port": 443,
    "protocol": "http",
    "method": "GET",
    "path": "/v1/charges",
    "status": 502,
    "rule": "policy.yaml#api",
    "reason": "upstream_reset",
}
MATCHES = {
    "verdict": "forwarded",
    "from_namespace": "payments",
    "from_pod": "payments/api-7d9c5",
    "from_workload": "payments/Deployment/api",
    "from_service_account": "payments/biller",
    "from_ip": "10.0.0.1",
    "from_user": "ci",
    "from_group": "all",
    "to_fqdn": "*.EXAMPLE.com",
    "to_ip": "203.0.113.5",
    "port": "443",
    "protocol": "HTTP",
    "http_method": "GET",
    "http_path": "/v1/*",
    "http_status": "5+",
    "rule": "policy.yaml#api",
    "reason": "upstream_reset",
}


def test_every_filter_is_tried_here() -> None:
    assert set(MATCHES) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_flow_without_the_key_or_with_another_value_is_not_wanted(key: str) -> None:
    wanted = parse_filter([(key, MATCHES[key])])
    assert wanted.holds(FLOW)
    assert not wanted.holds({"decision": "none", "port": 80, "host": "example.com"})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("from_pod", "api", True),
        ("from_pod", "payments/", True),
        ("from_pod", "other/api", False),
        ("from_pod", "7d9c5", False),
        ("from_workload", "api", True),
        ("from_workload", "Deployment/api", True),
        ("from_workload", "payments/api", True),
        ("from_workload", "Job/api", False),
        ("from_workload", "other/api", False),
        ("from_service_account", "biller", True),
        ("from_service_account", "bill", False),
        ("from_service_account", "other/biller", False),
        ("http_status", "502", True),
        ("http_status", "4+", False),
        ("http_path", "/v1", False),
    ],
)
def test_pods_workloads_and_accounts_may_have_their_namespace_before_them(key: str, value: str, wanted: bool) -> None:
    assert parse_filter([(key, value)]).holds(FLOW) is wanted


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("from_ip", "10.0.0.0/8", True),
        ("from_ip", "10.0.0.2", False),
        ("from_ip", "2001:db8::/32", False),
        ("to_ip", "203.0.113.0/24", True),
        ("to_ip", "203.0.114.0/24", False),
    ],
)
def test_addresses_may_be_those_of_a_network(key: str, value: str, wanted: bool) -> None:
    assert parse_filter([(key, value)]).holds(FLOW) is wanted


def test_an_address_is_the_same_however_it_is_written() -> None:
    flow = {**FLOW, "client_address": "2001:db8::1"}
    assert parse_filter([("from_ip", "2001:DB8:0:0::1")]).holds(flow)


def test_a_client_that_is_no_pod_belongs_to_no_workload() -> None:
    for key in ("from_pod", "from_workload", "from_service_account"):
        for value in ("/", "x/", "a"):
            assert not parse_filter([(key, value)]).holds({"decision": "allow", "client_address": "10.0.0.1"})


def test_one_value_of_a_key_and_every_key_must_match() -> None:
    assert parse_filter([("port", "80"), ("port", "443"), ("from_user", "ci")]).holds(FLOW)
    assert not parse_filter([("port", "443"), ("from_user", "cd")]).holds(FLOW)
    assert parse_filter([]).holds(FLOW)


@pytest.mark.parametrize(
    ("flow", "verdict"),
    [
        ({"decision": "deny", "ended": "refused"}, "dropped"),
        ({"decision": "none", "ended": "timeout"}, "error"),
        ({"decision": "allow", "ended": "failed"}, "error"),
        ({"decision": "allow", "ended": "timeout", "ended_by": "upstream"}, "error"),
        ({"decision": "allow", "ended": "timeout", "ended_by": "gateway"}, "forwarded"),
        ({"decision": "allow", "ended": "closed", "would_deny": "no_rule"}, "audit"),
        ({"decision": "allow", "ended": "closed", "would_limit": "p#r.connections"}, "audit"),
        ({"decision": "allow", "ended": "reset"}, "forwarded"),
    ],
)
def test_verdicts_are_told_in_hubbles_words(flow: dict[str, str], verdict: str) -> None:
    assert verdict_in(flow) == verdict


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("to_pod", "x")], "no filter is called 'to_pod'"),
        ([("verdict", "denied")], "verdict is one of forwarded, dropped, error, audit"),
        ([("protocol", "udp")], "protocol is one of tls, http, tcp"),
        ([("port", "https")], "port is a number"),
        ([("port", "65536")], "port is a number"),
        ([("port", "\u0664")], "port is a number"),
        ([("from_ip", "10.0.0")], "from_ip is an address or a network"),
        ([("to_ip", "10.0.0.1/8")], "to_ip is an address or a network"),
        ([("http_status", "4xx")], "404, 4\\+"),
        ([("host", "")], "no filter"),
        ([("rule", "")], "1 to 253 characters"),
        ([("rule", "x" * 254)], "1 to 253 characters"),
        ([("reason", "no_rules")], "no reason is called 'no_rules'"),
        ([("rule", "x")] * (MOST_VALUES + 1), "at most 32 filters"),
    ],
)
def test_what_cannot_be_asked_for_is_said(pairs: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(BadFilter, match=words):
        parse_filter(pairs)
