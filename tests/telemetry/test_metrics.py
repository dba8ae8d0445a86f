"""The exposition, read by Prometheus' own parser."""

from importlib.metadata import version

from prometheus_client.parser import text_string_to_metric_families

from gateway.model.decision import RuleRef
from gateway.telemetry.counters import Counters
from gateway.telemetry.dns import MOST_SERVERS, QueryCounters
from gateway.telemetry.metrics import Metrics
from tests.telemetry.drafts import RULE, asked, denied, tunnelled
from tests.telemetry.readings import sources

Labels = frozenset[tuple[str, str]]


def exposed(
    counters: Counters, last_reload_time: float | None = 1.8e9, queries: QueryCounters | None = None
) -> dict[tuple[str, Labels], float]:
    text = Metrics(sources(counters, last_reload_time, queries)).render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**pairs: str) -> Labels:
    return frozenset(pairs.items())


def test_every_number_has_its_name() -> None:
    counters = Counters()
    for draft in (tunnelled(), tunnelled(), denied()):
        counters.count(draft, 1002.0)
    samples = exposed(counters)
    expected = {
        ("egress_connections_total", labels(rule=RULE.name, decision="allow", reason="")): 2,
        ("egress_connections_total", labels(rule="", decision="deny", reason="no_rule")): 1,
        ("egress_bytes_total", labels(direction="up")): 2 * 517,
        ("egress_bytes_total", labels(direction="down")): 2 * 4096,
        ("egress_connection_duration_seconds_count", labels()): 3,
        ("egress_connection_duration_seconds_sum", labels()): 6.0,
        ("egress_connection_duration_seconds_bucket", labels(le="1.0")): 0,
        ("egress_connection_duration_seconds_bucket", labels(le="5.0")): 3,
        ("egress_connection_duration_seconds_bucket", labels(le="+Inf")): 3,
        ("egress_dns_duration_seconds_count", labels()): 2,
        ("egress_dial_duration_seconds_bucket", labels(le="0.025")): 2,
        ("egress_tls_connections_total", labels(version="1.3", handling="passed")): 2,
        ("egress_connections_accepted_total", labels()): 8,
        ("egress_connections_open", labels()): 5,
        ("egress_connections_lost_total", labels()): 4,
        ("egress_build_info", labels(version=version("egress-gateway"))): 1,
        ("egress_workers", labels()): 2,
        ("egress_workers_lost_total", labels()): 12,
        ("egress_tunnels_open", labels()): 3,
        ("egress_records_written_total", labels()): 11,
        ("egress_records_lost_total", labels()): 2,
        ("egress_policy_generation", labels()): 7,
        ("egress_policy_reload_success", labels()): 0,
        ("egress_policy_last_reload_timestamp_seconds", labels()): 1.8e9,
        ("egress_policy_last_success_timestamp_seconds", labels()): 1.7e9,
        ("egress_policy_reload_seconds", labels()): 0.25,
        ("egress_expiry_timestamp_seconds", labels(what="authority")): 1.9e9,
        ("egress_dns_names_total", labels(result="hit")): 9,
        ("egress_dns_names_total", labels(result="stale")): 1,
        ("egress_dns_cache_entries", labels()): 4,
        ("egress_dns_server_up", labels(server="192.0.2.1:53")): 0,
    }
    assert {key: samples.get(key) for key in expected} == expected
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds"):
        assert samples[f"egress_worker_{name}", labels(worker="0")] > 0
        assert (f"egress_worker_{name}", labels(worker="1")) not in samples
    assert samples["process_resident_memory_bytes", labels()] > 0
    assert any(name == "python_info" for name, _ in samples)


def test_before_the_first_reload_there_is_no_time_of_it() -> None:
    names = {name for name, _ in exposed(Counters(), last_reload_time=None)}
    assert "egress_policy_reload_success" in names
    assert not {"egress_policy_last_reload_timestamp_seconds", "egress_policy_reload_seconds"} & names


def test_a_name_that_a_client_chose_is_no_label() -> None:
    counters = Counters()
    for number in range(50):
        draft = asked(authority=f"host-{number}.attacker.test:443")
        draft.decision = denied().decision
        counters.count(draft, 1001.0)
    samples = exposed(counters)
    assert sum(name == "egress_connections_total" for name, _ in samples) == 1
    assert not any("attacker" in value for _, pairs in samples for _, value in pairs)


def test_a_rule_name_may_hold_what_the_format_escapes() -> None:
    counters = Counters()
    rule = RuleRef('dir\\pol"icy.yaml#a\nb', "policy.yaml", 1)
    counters.count(tunnelled(rule=rule), 1001.0)
    assert exposed(counters)["egress_connections_total", labels(rule=rule.name, decision="allow", reason="")] == 1


def test_queries_to_name_servers_are_told_apart() -> None:
    queries = QueryCounters()
    queries.count("192.0.2.1:853", "dot", "answer", 0.02)
    queries.count("192.0.2.1:853", "dot", "answer", 0.2)
    queries.count("192.0.2.2:853", "dot", "timeout", 2.0)
    samples = exposed(Counters(), queries=queries)
    expected = {
        ("egress_dns_queries_total", labels(server="192.0.2.1:853", transport="dot", result="answer")): 2,
        ("egress_dns_queries_total", labels(server="192.0.2.2:853", transport="dot", result="timeout")): 1,
        ("egress_dns_query_duration_seconds_bucket", labels(server="192.0.2.1:853", le="0.025")): 1,
        ("egress_dns_query_duration_seconds_count", labels(server="192.0.2.1:853")): 2,
        ("egress_dns_query_duration_seconds_sum", labels(server="192.0.2.2:853")): 2.0,
    }
    assert {key: samples.get(key) for key in expected} == expected


def test_name_servers_that_change_all_the_time_make_no_endless_series() -> None:
    queries = QueryCounters()
    for number in range(1000):
        queries.count(f"10.0.{number // 256}.{number % 256}:53", "udp", "answer", 0.001)
    samples = exposed(Counters(), queries=queries)
    assert samples["egress_dns_queries_total", labels(server="other", transport="udp", result="answer")] == 968
    assert sum(name == "egress_dns_query_duration_seconds_count" for name, _ in samples) == MOST_SERVERS + 1
