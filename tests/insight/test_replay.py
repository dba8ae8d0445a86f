"""Recorded attempts under another policy, judged by the gateway's own functions."""

import pytest

from gateway.insight.replay import FlowKey, Outcome, replay
from gateway.telemetry.formats.fields import Recorded
from tests.insight.records import NOW, attempts, rules_of, seen

POLICY = """
version: 1
clients: {ci: {match: [{user: ci}]}}
rules:
  - {name: a, hosts: [a.example]}
  - {name: c, clients: [ci], hosts: [c.example]}
  - {name: no-range, cidrs: [198.51.100.0/24], action: deny}
"""


def replayed(*records: Recorded, policy: str = POLICY) -> Outcome:
    return replay(attempts(*records), rules_of(policy), NOW)


def test_what_changes_is_told_with_count_first_and_last() -> None:
    outcome = replayed(
        seen("a.example"),
        seen("b.example", time="2027-01-16T08:00:00.000Z"),
        seen("b.example", time="2027-01-15T09:00:00.000Z"),
        seen("a.example", decision="deny", reason="no_rule", dialled_address=None),
    )
    ((key, tally),) = outcome.newly_denied.items()
    assert (key.client, key.destination, key.verdict) == ("10.0.0.1", "b.example:443", (False, "", "no_rule"))
    assert (tally.count, tally.first, tally.last) == (2, "2027-01-15T09:00:00.000Z", "2027-01-16T08:00:00.000Z")
    assert [key[:2] for key in outcome.newly_allowed] == [("10.0.0.1", "a.example:443")]
    assert (outcome.still_allowed, outcome.still_denied) == (1, 0)


def test_clients_are_judged_as_who_they_were() -> None:
    outcome = replayed(seen("c.example", user="ci"), seen("c.example", user="web"), seen("c.example"))
    assert [key.client for key in outcome.newly_denied] == ["web", "10.0.0.1"]
    assert outcome.still_allowed == 1


def _reasons(outcome: Outcome) -> list[str]:
    return [key.verdict.reason for key in outcome.newly_denied]


def test_the_name_in_tls_the_first_bytes_and_the_addresses_are_judged_too() -> None:
    assert _reasons(replayed(seen("a.example", sni="b.example"))) == ["sni_mismatch"]
    assert _reasons(replayed(seen("a.example", protocol="http", sni=None))) == ["protocol_mismatch"]
    assert _reasons(replayed(seen("a.example", sni=None))) == ["sni_missing"]
    assert _reasons(replayed(seen("a.example", dialled_address="198.51.100.7"))) == ["address_refused"]
    both = replayed(seen("a.example", dialled_address="198.51.100.7"), seen("a.example"))
    assert both.newly_denied == {}


def test_what_cannot_be_judged_is_counted() -> None:
    outcome = replayed(seen("not a name"), seen("a.example", client_address="?"))
    assert (outcome.unjudged, outcome.newly_denied) == (2, {})
    assert replayed(seen("a.example", decision="deny", reason="credentials_missing")) == Outcome()


def test_a_captured_name_is_judged_by_its_address_too() -> None:
    captured = seen("a.example", door="transparent", original_address="198.51.100.7")
    assert _reasons(replayed(captured)) == ["denied_by_rule"]


def test_what_a_request_of_its_own_was_refused_for_is_not_judged() -> None:
    assert replayed(seen("a.example", decision="deny", reason="request_denied")) == Outcome()


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 407},  # formats without reasons
        {"status": 429},
        {"status": 200},
        {"reason": "address_refused"},
        {"reason": "protocol_mismatch", "protocol": None, "sni": None},
        {"reason": "sni_mismatch", "sni": "a.example"},  # in a second ClientHello
    ],
)
def test_a_refusal_whose_cause_the_record_does_not_hold_is_not_judged(refusal: Recorded) -> None:
    assert replayed(seen("a.example", decision="deny", **refusal)) == Outcome()


def test_a_refusal_without_a_reason_is_judged_if_the_destination_was_forbidden() -> None:
    outcome = replayed(seen("b.example", decision="deny", status=403), seen("b.example", decision="deny"))
    assert outcome.still_denied == 2


def test_a_refusal_for_lack_of_a_server_name_says_that_there_was_tls() -> None:
    outcome = replayed(seen("a.example", decision="deny", reason="sni_missing", protocol=None, sni=None))
    assert (outcome.newly_allowed, outcome.still_denied) == ({}, 1)


def test_a_policy_in_report_mode_denies_nothing() -> None:
    assert replayed(seen("b.example"), policy="version: 1\nmode: report\n").newly_denied == {}


def test_a_way_back_in_a_flow_log_is_no_attempt_more() -> None:
    outcome = replayed(seen("93.184.216.34", sni=None), seen("93.184.216.34", sni=None, is_answer=True))
    assert [tally.count for tally in outcome.newly_denied.values()] == [1]
    assert isinstance(next(iter(outcome.newly_denied)), FlowKey)


def test_a_name_whose_addresses_were_all_refused_is_not_taken_for_one_that_a_rule_now_opens() -> None:
    private = seen("a.example", decision="deny", reason="address_refused", dialled_address=None)
    outcome = replayed(private | {"refused": ["10.1.2.3 (private use, opened by nothing)"]})
    assert (outcome.newly_allowed, outcome.still_denied) == ({}, 1)
