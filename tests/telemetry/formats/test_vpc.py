"""VPC flow log records to the letter: both directions, what nobody counted, and what several connections add up to."""

from dataclasses import replace

import pytest

from gateway.model.reasons import Reason
from gateway.model.record import Draft, Packets
from gateway.telemetry.exchanges import seal_exchange
from gateway.telemetry.formats.fields import NotARecord, OtherTraffic
from gateway.telemetry.formats.vpc import (
    DEFAULT_FIELDS,
    Flow,
    FlowReader,
    encode_flow,
    encode_silence,
    flows_of,
)
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import accepted, address, denied, exchanged, tunnelled

FIELDS = (*DEFAULT_FIELDS, "type", "pkt-srcaddr", "pkt-dstaddr", "flow-direction")
START, END = 1_800_000_000, 1_800_000_001


def counted() -> Draft:
    draft = tunnelled()
    draft.packets = Packets(1, 2, 30, 40)
    return draft


def lines_of(draft: Draft, fields: tuple[str, ...] = FIELDS) -> list[str]:
    return [encode_flow(*pair, fields).decode() for pair in flows_of(seal(draft, 1001.5))]


def test_a_tunnel_is_two_flows_with_what_each_moved() -> None:
    there = "5 - proxy 10.0.0.1 203.0.113.5 40000 443 6 30 517"
    back = "5 - proxy 203.0.113.5 10.0.0.1 443 40000 6 40 4096"
    when = f"{START} {END} ACCEPT OK"
    assert lines_of(counted()) == [
        f"{there} {when} IPv4 10.0.0.1 203.0.113.5 egress\n",
        f"{back} {when} IPv4 203.0.113.5 10.0.0.1 ingress\n",
    ]
    assert [line.split()[:10] for line in lines_of(counted(), DEFAULT_FIELDS)] == [
        ["2", *there.split()[1:]],
        ["2", *back.split()[1:]],
    ]


def test_packets_that_nobody_counted_are_unknown() -> None:
    assert [line.split()[8] for line in lines_of(tunnelled())] == ["-", "-"]


def test_what_was_refused_has_no_way_back() -> None:
    (line,) = lines_of(denied())
    assert line.split()[3:7] + line.split()[12:14] == ["10.0.0.1", "-", "40000", "443", "REJECT", "OK"]
    late = counted()  # a name that was refused when the destination had been reached
    late.decision = denied(reason=Reason.SNI_MISMATCH).decision
    late.transfer.bytes_down = 0
    (line,) = lines_of(late)
    assert line.split()[3:5] + line.split()[12:13] == ["10.0.0.1", "203.0.113.5", "REJECT"]
    unreached = counted()
    unreached.dialled = None
    assert len(lines_of(unreached)) == 1


def test_what_had_come_back_before_it_was_refused_is_counted() -> None:
    late = counted()
    late.decision = denied(reason=Reason.SNI_MISMATCH).decision
    _, back = lines_of(late)
    assert back.split()[3:5] + back.split()[9:10] + back.split()[12:13] == ["203.0.113.5", "10.0.0.1", "4096", "REJECT"]


def test_ipv6_says_so_and_a_literal_is_the_destination_though_it_was_not_reached() -> None:
    draft = denied()
    draft.peer = (address("2001:db8::1"), 40000)
    assert draft.intent is not None
    draft.intent = draft.intent._replace(authority=draft.intent.authority._replace(host=address("2001:db8::7")))
    (line,) = lines_of(draft)
    assert line.split()[3:5] + line.split()[14:15] == ["2001:db8::1", "2001:db8::7", "IPv6"]


def test_what_asked_for_nobody_and_what_only_sums_up_is_no_flow() -> None:
    assert lines_of(accepted()) == []
    assert lines_of(replace(tunnelled(), requests=2)) == []
    there, back = flows_of(seal_exchange(exchanged(), 1001.5))
    assert (there[1].octets, back[1].octets, there[1].packets, back[1].packets) == (517, 4096, None, None)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Flow(1, 10, 20, 3), Flow(2, 5, 15, 4), Flow(3, 5, 20, 7)),
        (Flow(1, 10, 20, 0), Flow(2, 15, 25, 0), Flow(3, 10, 25, 0)),
        (Flow(1, 10, 20, 3), Flow(2, 10, 20, None), Flow(3, 10, 20, None)),
        (Flow(1, 10, 20, None), Flow(2, 10, 20, 4), Flow(3, 10, 20, None)),
    ],
)
def test_flows_are_added_up_and_packets_are_known_only_of_all(one: Flow, other: Flow, both: Flow) -> None:
    total = replace(one)
    total.add(other)
    assert total == both


def test_a_listener_may_have_any_name() -> None:
    draft = counted()
    draft.listener = 'büro "1" ='
    (there, _) = (FlowReader(FIELDS).decode(line.encode()) for line in lines_of(draft))
    assert there is not None
    assert there["listener"] == 'büro_"1"_='


def test_each_direction_comes_back_as_it_went() -> None:
    for fields in (FIELDS, DEFAULT_FIELDS):  # told by its direction, or by its ports
        reader = FlowReader(fields)
        there, back = (reader.decode(line.encode()) for line in lines_of(counted(), fields))
        assert there is not None
        assert back is not None
        for flow, moved in ((there, (517, 0, False)), (back, (0, 4096, True))):
            assert (flow["client_address"], flow["client_port"]) == ("10.0.0.1", 40000)
            assert (flow["host"], flow["dialled_address"], flow["port"]) == ("203.0.113.5", "203.0.113.5", 443)
            assert (flow["bytes_up"], flow["bytes_down"], flow["is_answer"]) == moved
            assert (flow["time"], flow["total_ms"]) == ("2027-01-15T08:00:00.000Z", 1000.0)
            assert (flow["decision"], flow["listener"]) == ("allow", "proxy")


def test_what_was_rejected_is_denied_and_a_direction_that_is_told_counts_before_the_ports() -> None:
    rejected = FlowReader().decode(lines_of(denied(), DEFAULT_FIELDS)[0].encode())
    assert rejected is not None
    assert (rejected["decision"], "host" in rejected, "dialled_address" in rejected) == ("deny", False, False)
    fields = (*DEFAULT_FIELDS, "flow-direction")
    line = f"5 - proxy 10.0.0.1 203.0.113.5 443 40000 6 1 5 {START} {END} ACCEPT OK egress\n".encode()
    flow = FlowReader(fields).decode(line)
    assert flow is not None
    assert (flow["client_address"], flow["client_port"], flow["is_answer"]) == ("10.0.0.1", 443, False)


def test_between_equal_ports_the_way_there_is_meant() -> None:
    line = f"2 - proxy 10.0.0.1 203.0.113.5 443 443 6 1 5 {START} {END} ACCEPT OK\n".encode()
    flow = FlowReader().decode(line)
    assert flow is not None
    assert (flow["client_address"], flow["is_answer"]) == ("10.0.0.1", False)


@pytest.mark.parametrize("status", ["NODATA", "SKIPDATA"])
def test_a_window_of_silence_says_so_and_is_no_flow(status: str) -> None:
    line = encode_silence("proxy", START, END, status, DEFAULT_FIELDS)
    assert line == f"2 - proxy - - - - - - - {START} {END} - {status}\n".encode()
    assert FlowReader().decode(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"2 -",
        f"2 - proxy 10.0.0.1 203.0.113.5 x 443 6 1 5 {START} {END} ACCEPT OK".encode(),
        f"2 - proxy - 203.0.113.5 40000 443 6 1 5 {START} {END} ACCEPT OK".encode(),
        f"2 - proxy 10.0.0.1 203.0.113.5 40000 443 6 1 - {START} {END} ACCEPT OK".encode(),
        b"version srcaddr nonsense",
    ],
)
def test_what_is_no_flow_is_no_record(line: bytes) -> None:
    with pytest.raises(NotARecord):
        FlowReader().decode(line)


@pytest.mark.parametrize("protocol", [1, 17])
def test_what_is_not_of_tcp_could_not_have_come_through_a_gateway(protocol: int) -> None:
    line = f"2 - eni-1 10.0.0.1 203.0.113.5 40000 53 {protocol} 1 60 {START} {END} ACCEPT OK\n".encode()
    with pytest.raises(OtherTraffic, match=f"protocol {protocol}"):
        FlowReader().decode(line)


def test_fields_of_later_versions_are_skipped() -> None:
    reader = FlowReader()
    assert reader.decode(f"{' '.join(DEFAULT_FIELDS)} reject-reason ecs-task-id".encode()) is None
    flow = reader.decode(f"8 - eni-1 10.0.0.1 203.0.113.5 40000 443 6 1 5 {START} {END} REJECT OK BPA -".encode())
    assert flow is not None
    assert (flow["client_address"], flow["host"], flow["decision"]) == ("10.0.0.1", "203.0.113.5", "deny")


def test_a_line_of_names_says_what_follows() -> None:
    reader = FlowReader()
    assert reader.decode(b"srcaddr dstaddr srcport dstport bytes start end\n") is None
    flow = reader.decode(f"10.0.0.1 203.0.113.5 40000 443 5 {START} {END}\n".encode())
    assert flow is not None
    assert (flow["bytes_up"], flow["decision"], "listener" in flow) == (5, "allow", False)
