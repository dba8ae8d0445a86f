"""What a record says of a draft."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.model.client import Client, IdentitySource
from gateway.model.decision import AddressRefusal, Deny, WouldDeny
from gateway.model.intent import Door, Intent, Opening, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import ConnectionRecord, Draft, Ended, Packets, Side, TlsSides, Transfer
from gateway.telemetry.sealing import LIST_LIMIT, TEXT_LIMIT, printable, reason_of, rfc3339, seal
from tests.telemetry.drafts import (
    CERTIFIED,
    DENY_RULE,
    HELLO,
    RULE,
    accepted,
    address,
    asked,
    denied,
    dialled,
    permit_of,
    tunnelled,
)


def test_a_tunnel_that_went_well_tells_all_of_it() -> None:
    record = seal(tunnelled(), ended_at=1001.5)
    assert (record.get("time"), record.get("total_ms")) == ("2027-01-15T08:00:00.123Z", 1500.0)
    assert (record.get("client_address"), record.get("client_port")) == ("10.0.0.1", 40000)
    assert (record.get("identity"), record.get("user"), record.get("groups")) == ("basic", "ci", ("payments",))
    assert (record.get("door"), record.get("host"), record.get("port"), record.get("protocol")) == (
        "connect",
        "api.stripe.com",
        443,
        "tls",
    )
    assert (record.get("decision"), record.get("reason"), record.get("status"), record.get("generation")) == (
        "allow",
        None,
        200,
        7,
    )
    assert (record.get("rule"), record.get("rule_file"), record.get("rule_line")) == (RULE.name, RULE.file, RULE.line)
    assert (record.get("resolved"), record.get("refused"), record.get("dialled_address")) == (
        ("203.0.113.5",),
        None,
        "203.0.113.5",
    )
    assert (record.get("dns_ms"), record.get("dial_ms"), record.get("first_byte_ms")) == (1.2, 23.4, 50.0)
    assert (record.get("sni"), record.get("alpn"), record.get("ja4"), record.get("ech")) == (
        HELLO.server_name,
        HELLO.alpn,
        HELLO.ja4,
        False,
    )
    assert (record.get("bytes_up"), record.get("bytes_down")) == (517, 4096)
    assert (record.get("ended"), record.get("ended_by")) == (Ended.CLOSED, Side.DOWNSTREAM)


def test_a_connection_that_said_nothing_still_has_a_record() -> None:
    record = seal(accepted(), ended_at=1000.0)
    assert (record.get("decision"), record.get("host"), record.get("rule"), record.get("status")) == (
        "none",
        None,
        None,
        None,
    )
    assert (record.get("ended"), record.get("ended_by")) == (Ended.FAILED, Side.GATEWAY)


def test_a_denial_is_refused_by_the_gateway_and_names_its_rule() -> None:
    draft = asked()
    draft.decision = Deny(
        Reason.DENIED_BY_RULE, 7, DENY_RULE, ("payments",), ("policy.yaml#other",), "a deny rule matches"
    )
    record = seal(draft, ended_at=1000.1)
    assert (record.get("decision"), record.get("reason"), record.get("detail")) == (
        "deny",
        Reason.DENIED_BY_RULE,
        "a deny rule matches",
    )
    assert (record.get("ended"), record.get("ended_by")) == (Ended.REFUSED, Side.GATEWAY)
    assert (record.get("rule"), record.get("also"), record.get("groups")) == (
        DENY_RULE.name,
        ("policy.yaml#other",),
        ("payments",),
    )


def test_the_reason_of_a_connection_stands_before_the_reason_of_its_relay() -> None:
    draft = tunnelled()
    assert reason_of(draft) is None
    draft.transfer.reason = Reason.IDLE_TIMEOUT
    assert reason_of(draft) is Reason.IDLE_TIMEOUT
    draft.reason = Reason.DRAINING
    assert reason_of(draft) is Reason.DRAINING


def test_addresses_that_were_refused_say_why_and_their_rules_stand_in_also_once() -> None:
    draft = tunnelled()
    draft.dialled = dialled(
        AddressRefusal(address("198.51.100.7"), Reason.DENIED_BY_RULE, "a deny rule matches", DENY_RULE),
        AddressRefusal(address("198.51.100.8"), Reason.DENIED_BY_RULE, "a deny rule matches", DENY_RULE),
        AddressRefusal(address("10.1.2.3"), Reason.ADDRESS_REFUSED, "private"),
        AddressRefusal(address("10.1.2.4"), Reason.ADDRESS_REFUSED, ""),
        AddressRefusal(address("10.1.2.5"), Reason.ADDRESS_REFUSED, "outside the rule's `within`", RULE),
    )
    record = seal(draft, ended_at=1001.0)
    assert "would_deny" not in record
    assert record.get("resolved") == ("203.0.113.5", "198.51.100.7", "198.51.100.8", "10.1.2.3", "10.1.2.4", "10.1.2.5")
    assert record["refused"][1:] == (
        "198.51.100.8 (a deny rule matches)",
        "10.1.2.3 (private)",
        "10.1.2.4 (address_refused)",
        "10.1.2.5 (outside the rule's `within`)",
    )
    assert record.get("also") == (DENY_RULE.name,)


def test_an_address_that_report_mode_let_pass_is_would_deny_and_not_refused() -> None:
    draft = tunnelled()
    set_aside = AddressRefusal(address("203.0.113.5"), Reason.DENIED_BY_RULE, "a deny rule", DENY_RULE, enforced=False)
    draft.dialled = dialled(set_aside)
    record = seal(draft, ended_at=1001.0)
    assert (record.get("refused"), record.get("also")) == (None, None)
    assert (record.get("would_deny"), record.get("would_deny_rule")) == (Reason.DENIED_BY_RULE, DENY_RULE.name)


@pytest.mark.parametrize("by_name", [WouldDeny(Reason.SNI_MISMATCH, RULE), None])
def test_the_tls_name_speaks_before_the_rules_in_would_deny(by_name: WouldDeny | None) -> None:
    draft = tunnelled()
    draft.decision = replace(permit_of(draft), would_deny=WouldDeny(Reason.NO_RULE))
    draft.would_deny = by_name
    record = seal(draft, ended_at=1001.0)
    assert record.get("would_deny") is (Reason.SNI_MISMATCH if by_name else Reason.NO_RULE)
    assert record.get("would_deny_rule") == (RULE.name if by_name else None)


def test_a_tunnel_that_is_not_tls_has_no_tls_facts() -> None:
    draft = tunnelled()
    draft.opening = Opening(Protocol.TCP)
    record = seal(draft, ended_at=1001.0)
    assert (record.get("protocol"), record.get("sni"), record.get("alpn"), record.get("ja4"), record.get("ech")) == (
        "tcp",
        None,
        None,
        None,
        None,
    )


def test_a_detail_is_cut_and_made_printable() -> None:
    draft = denied()
    draft.detail = "\x1b[2J\r\n\x9b\udc80\u2028" + "x" * 10_000
    detail = seal(draft, ended_at=1000.1)["detail"]
    assert detail.isprintable()
    assert detail.startswith("\\x1b[2J\\r\\n\\x9b\\udc80\\u2028xxx")
    assert len(detail) <= TEXT_LIMIT * len("\\U0010ffff")


def test_lists_that_a_peer_made_long_are_cut() -> None:
    draft = tunnelled()
    draft.opening = Opening(Protocol.TLS, HELLO._replace(alpn=tuple(f"p{n}" for n in range(10_000))))
    alpn = seal(draft, ended_at=1001.0)["alpn"]
    assert len(alpn) == LIST_LIMIT


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Zürich 東京 a\\b") == "Zürich 東京 a\\b"


@pytest.mark.parametrize(
    ("unix", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (951_782_399.9999, "2000-02-28T23:59:59.999Z"),
        (4_102_444_800.001, "2100-01-01T00:00:00.001Z"),
    ],
)
def test_time_is_rfc_3339_in_utc_with_milliseconds(unix: float, text: str) -> None:
    assert rfc3339(unix) == text


def test_what_a_door_shows_is_the_protocol_until_the_client_has_spoken() -> None:
    draft: Draft = asked()
    assert draft.intent is not None
    draft.client = Client(draft.peer[0])
    draft.intent = Intent(Door.ABSOLUTE_FORM, draft.intent.authority, Protocol.HTTP)
    draft.transfer = Transfer()
    record = seal(draft, ended_at=1000.0)
    assert (record.get("protocol"), record.get("identity"), record.get("user")) == ("http", "address", None)


def test_a_captured_connection_tells_the_address_that_was_dialled_and_the_one_that_it_left_from() -> None:
    draft = tunnelled()
    assert draft.intent is not None
    assert draft.dialled is not None
    assert not {"original_address", "source_address"} & seal(draft, ended_at=1001.5).keys()
    draft.intent = draft.intent._replace(door=Door.TRANSPARENT, original=address("203.0.113.66"))
    draft.dialled = replace(draft.dialled, source=address("198.51.100.7"))
    record = seal(draft, ended_at=1001.5)
    assert (record.get("door"), record.get("original_address")) == ("transparent", "203.0.113.66")
    assert (record.get("source_address"), record.get("dialled_address")) == ("198.51.100.7", "203.0.113.5")


PEER = address("10.0.0.1")


def test_a_workload_is_told_as_far_as_it_is_known_and_so_is_why_it_is_not() -> None:
    pod = Client(PEER, IdentitySource.KUBERNETES, namespace="pay", service_account="api", pod="api-1", workload="Pod/x")
    draft = accepted()
    draft.client = pod
    record = seal(draft, draft.started_at)
    told = ["kubernetes", "pay", "api", "api-1", "Pod/x"]
    assert [record[key] for key in ("identity", "namespace", "service_account", "pod", "workload")] == told
    draft.client = Client(PEER, known=False, doubt="host_network")
    record = seal(draft, draft.started_at)
    assert (record["identity"], record["identity_doubt"], "namespace" in record) == ("address", "host_network", False)


def full() -> Draft:
    """A captured and inspected tunnel of which all is known that can be."""
    draft = tunnelled()
    assert draft.intent is not None
    assert draft.dialled is not None
    refused = AddressRefusal(address("10.1.2.3"), Reason.ADDRESS_REFUSED, "private")
    draft.client = CERTIFIED
    draft.sender = (address("192.0.2.9"), 5000)
    draft.intent = draft.intent._replace(door=Door.TRANSPARENT, original=address("203.0.113.66"))
    draft.decision = replace(permit_of(draft), also=("policy.yaml#other",))
    draft.would_deny, draft.would_limit = WouldDeny(Reason.SNI_MISMATCH, RULE), "policy.yaml#stripe.connections"
    draft.dialled = replace(draft.dialled, refused=(refused,), source=address("198.51.100.7"))
    draft.tls = TlsSides("TLSv1.3", True, "TLSv1.2", True, "ab" * 32, "CN=a\n", "CN=b\n")
    draft.packets, draft.requests, draft.wrong_credentials = Packets(1, 2, 3, 4), 5, 6
    draft.transfer.reason, draft.detail = Reason.UPSTREAM_RESET, "because"
    return draft


def test_a_record_has_every_key_that_there_is_where_all_is_known_and_tells_each_truly() -> None:
    record = seal(full(), ended_at=1001.5)
    assert set(record) == set(ConnectionRecord.__annotations__)
    told = {
        "peer_address": "192.0.2.9",
        "peer_port": 5000,
        "identity": "mtls",
        "user": "ci",
        "namespace": "pay",
        "service_account": "api",
        "pod": "api-1",
        "workload": "Deployment/api",
        "identity_doubt": "stale",
        "spiffe": "spiffe://cluster.local/ns/pay/sa/api",
        "certificate": "api\\x1b.test",
        "original_address": "203.0.113.66",
        "source_address": "198.51.100.7",
        "reason": "upstream_reset",
        "detail": "because",
        "also": ("policy.yaml#other",),
        "would_deny": "sni_mismatch",
        "would_deny_rule": RULE.name,
        "would_limit": "policy.yaml#stripe.connections",
        "refused": ("10.1.2.3 (private)",),
        "downstream_packets_out": 1,
        "downstream_packets_in": 2,
        "upstream_packets_out": 3,
        "upstream_packets_in": 4,
        "requests": 5,
        "wrong_credentials": 6,
        "inspected": True,
        "tls_version": "TLSv1.3",
        "tls_resumed": True,
        "upstream_tls_version": "TLSv1.2",
        "upstream_tls_resumed": True,
        "upstream_certificate": "ab" * 32,
        "upstream_subject": "CN=a\\n",
        "upstream_issuer": "CN=b\\n",
    }
    assert {key: value for key, value in record.items() if key in told} == told


def test_of_packets_and_of_tls_only_what_was_seen_is_told() -> None:
    draft = full()
    draft.packets, draft.tls = Packets(1, 2, None, None), TlsSides()
    record = seal(draft, ended_at=1001.5)
    assert [key for key in record if "packets" in key] == ["downstream_packets_out", "downstream_packets_in"]
    assert [key for key in record if "tls" in key or key.startswith("upstream_")] == []
    assert record["inspected"]
    draft.packets, draft.tls = Packets(None, None, 3, 4), None
    record = seal(draft, ended_at=1001.5)
    assert [key for key in record if "packets" in key] == ["upstream_packets_out", "upstream_packets_in"]
    assert "inspected" not in record


def test_a_literal_was_not_resolved() -> None:
    draft = tunnelled()
    assert draft.dialled is not None
    draft.dialled = replace(draft.dialled, resolve_seconds=None)
    record = seal(draft, ended_at=1001.5)
    assert ("dns_ms" in record, "resolved" in record, record["dial_ms"]) == (False, False, 23.4)


def test_what_the_name_was_let_pass_for_stands_before_what_an_address_was() -> None:
    draft = tunnelled()
    set_aside = AddressRefusal(address("203.0.113.5"), Reason.DENIED_BY_RULE, "a deny rule", DENY_RULE, enforced=False)
    draft.dialled, draft.would_deny = dialled(set_aside), WouldDeny(Reason.SNI_MISMATCH, RULE)
    record = seal(draft, ended_at=1001.0)
    assert (record["would_deny"], record["would_deny_rule"]) == (Reason.SNI_MISMATCH, RULE.name)


def test_what_is_known_of_a_connection_is_not_taken_from_another_with_the_same_decision() -> None:
    first, other = tunnelled(), asked(authority="other.test:80")
    assert first.client is not None
    assert first.dialled is not None
    refused = (AddressRefusal(address("10.1.2.3"), Reason.ADDRESS_REFUSED, "private"),)
    changes: list[dict[str, Any]] = [
        {"connection_id": "c-2", "started_at": 1000.5, "started_time": 1_900_000_000.0, "listener": "other"},
        {"peer": (address("10.0.0.2"), 1)},
        {"sender": (address("192.0.2.9"), 5000)},
        {"generation": 8},
        {"client": first.client._replace(user="other")},
        {"intent": other.intent},
        {"status": None},
        {"opening": None},
        {"would_deny": WouldDeny(Reason.NO_RULE)},
        {"would_limit": "limit"},
        {"tls": TlsSides("TLSv1.3")},
        {"requests": 1, "wrong_credentials": 2, "packets": Packets(1, 2, 3, 4)},
        {"reason": Reason.CLIENT_CLOSED, "detail": "here"},
        {"reason": Reason.CLIENT_CLOSED, "detail": "there"},
        {"transfer": Transfer(1, 2)},
        {"transfer": Transfer(1, 2, reason=Reason.IDLE_TIMEOUT)},
        {"dialled": None},
        {"dialled": replace(first.dialled, address=address("203.0.113.6"), dial_seconds=2.0)},
        {"dialled": replace(first.dialled, resolved=(address("203.0.113.6"),))},
        {"dialled": replace(first.dialled, resolve_seconds=None)},
        {"dialled": replace(first.dialled, refused=refused)},
        {"dialled": replace(first.dialled, source=address("198.51.100.7"))},
    ]
    others = [replace(first, **change) for change in changes]
    for made in (*(draft for each in others for draft in (first, each)), *others):
        assert made.decision is not None
        alone = replace(made, decision=replace(made.decision))
        assert list(seal(made, 1001.5).items()) == list(seal(alone, 1001.5).items())


def test_what_another_thread_seals_meanwhile_is_in_no_other_connections_record() -> None:
    """The export to OpenTelemetry seals in a thread of its own."""
    first = tunnelled()
    other = replace(first, status=404)

    class Interrupted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, given: object) -> bool:
            seal(other, 1001.5)
            return str(self) == given

    again = replace(first, detail=Interrupted("here"))
    first.detail = "here"
    seal(first, 1001.5)
    assert seal(again, 1001.5)["status"] == 200


def nameless() -> Draft:
    draft = tunnelled()
    draft.opening = Opening(Protocol.TLS, HELLO._replace(server_name=None, alpn=()))
    return draft


def with_client(client: Client) -> Draft:
    draft = tunnelled()
    draft.client, draft.decision = client, replace(permit_of(draft), groups=())
    return draft


@pytest.mark.parametrize(
    "draft",
    [
        accepted(),
        asked(),
        denied(),
        tunnelled(),
        nameless(),
        with_client(Client(PEER)),
        with_client(Client(PEER, namespace="pay")),
        with_client(Client(PEER, known=False, doubt="stale")),
    ],
)
def test_what_is_not_known_has_no_key(draft: Draft) -> None:
    told = seal(draft, ended_at=1001.5)
    assert [key for key, value in told.items() if value is None or value in ((), "")] == []
    assert not {"wrong_credentials", "requests", "refused", "also", "would_deny", "would_limit"} & told.keys()
