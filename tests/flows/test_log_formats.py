"""Several logs at once, written by several workers and rotated meanwhile: every byte is in each of them once."""

from pathlib import Path
from typing import Any

import pytest
from flowlogs_reader.flowlogs_reader import FlowRecord

from gateway.insight.reading import Reading, read_records
from gateway.insight.report import add_up
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

CONNECTIONS, SIZE = 60, 1000
LOGS: tuple[dict[str, Any], ...] = (
    {"path": "records.jsonl"},
    {"path": "turned.jsonl", "rotate": {"size": "4KiB", "keep": 100}},
    {"path": "envoy.log", "format": "envoy", "layout": "istio"},
    {"path": "squid.log", "format": "squid"},
    {"path": "text.log", "format": "text", "rotate": {"every": "day"}},
    {
        "path": "flows.log",
        "format": "vpc",
        "window": "10m",
        "fields": ["srcport", "dstport", "packets", "bytes", "start", "end"],
    },
)


def _talk(gateway: GatewayProcess, authority: str) -> None:
    with RawClient(gateway.port) as client:
        assert status_of(client.connect(authority)) == 200
        client.send(b"x" * SIZE)
        assert len(client.read(SIZE)) == SIZE


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_every_log_of_every_worker_adds_up(tmp_path: Path, workers: int) -> None:
    with Origin(echo) as origin:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
        settings = {"workers": workers, "telemetry": {"access_log": list(LOGS)}}
        with GatewayProcess(tmp_path, policy, settings) as gateway:
            for done in range(0, CONNECTIONS, 15):
                for _ in range(15):
                    _talk(gateway, f"127.0.0.1:{origin.port}")
                gateway.wait_for_records(done + 15)  # a batch of lines is never split
    turned = [str(path) for path in sorted(tmp_path.glob("turned.jsonl*"))]
    assert len(turned) >= 4
    assert all(path.endswith(".gz") for path in turned[1:])
    for paths in (turned, *([str(tmp_path / log["path"])] for log in (LOGS[0], *LOGS[2:5]))):
        (sums,) = add_up(read_records(paths, Reading()), ["destination"]).values()
        assert (sums.allowed, sums.bytes_down) == (CONNECTIONS, CONNECTIONS * SIZE), paths
    _flows_add_up(tmp_path / "flows.log", origin.port)
    _packets_are_the_kernels(tmp_path / "flows.log", gateway.records(), origin.port)


def _flows_add_up(path: Path, port: int) -> None:
    lines = path.read_text().splitlines()
    flows = [FlowRecord.from_cwl_event({"message": line}, LOGS[-1]["fields"]) for line in lines]
    assert sum(flow.bytes for flow in flows if flow.dstport == port) == CONNECTIONS * SIZE
    assert sum(flow.bytes for flow in flows if flow.srcport == port) == CONNECTIONS * SIZE


def _packets_are_the_kernels(path: Path, records: list[dict[str, Any]], port: int) -> None:
    """Of the connection to the destination: at least a SYN, its acknowledgement and the content each way."""
    flows = [FlowRecord.from_cwl_event({"message": line}, LOGS[-1]["fields"]) for line in path.read_text().splitlines()]
    by_client = {record["client_port"]: record for record in records}
    for flow in flows:
        out = flow.dstport == port
        record = by_client[flow.srcport if out else flow.dstport]
        assert flow.packets == record["upstream_packets_out" if out else "upstream_packets_in"] >= 2
    for record in records:
        assert 2 <= record["downstream_packets_in"] < 50
        assert 2 <= record["downstream_packets_out"] < 50


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")
def test_packets_hold_the_bytes_that_were_moved_and_are_unknown_after_a_reset(tmp_path: Path) -> None:
    size, largest = 8_000_000, 65_535
    with Origin(echo) as origin:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
        logs = [{"path": "records.jsonl"}, {"path": "flows.log", "format": "vpc"}]
        with GatewayProcess(tmp_path, policy, {"telemetry": {"access_log": logs}}) as gateway:
            with RawClient(gateway.port) as client:
                assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200
                for _ in range(size // 50_000):
                    client.send(b"x" * 50_000)
                    assert len(client.read(50_000)) == 50_000
            [whole] = gateway.wait_for_records(1)
            with RawClient(gateway.port) as client:
                assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200
                client.send(b"x")
                assert client.read(1) == b"x"
                client.reset()
            [cut] = gateway.wait_for_records(1, ended="reset")
    assert whole["bytes_up"] == whole["bytes_down"] == size
    for key in ("upstream_packets_out", "upstream_packets_in", "downstream_packets_in", "downstream_packets_out"):
        assert size / largest <= whole[key] <= size / 500, key
    lines = (tmp_path / "flows.log").read_text().splitlines()
    flows = [flow for flow in map(_flow_of, lines) if flow.log_status == "OK"]
    assert "downstream_packets_in" not in cut  # the client's connection was gone before anybody could ask
    for record in (whole, cut):
        there, back = ("upstream_packets_out", "upstream_packets_in")
        [out] = [flow for flow in flows if flow.srcport == record["client_port"]]
        [in_] = [flow for flow in flows if flow.dstport == record["client_port"]]
        assert (out.packets, in_.packets) == (record.get(there), record.get(back))


def _flow_of(line: str) -> FlowRecord:
    return FlowRecord.from_cwl_event({"message": line})
