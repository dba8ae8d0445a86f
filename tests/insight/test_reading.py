"""Files of any format, plain or packed, whole or torn."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.insight.reading import Reading, Unreadable, read_records
from gateway.telemetry.formats import envoy, json, squid, text
from gateway.telemetry.formats.fields import Record
from gateway.telemetry.formats.vpc import DEFAULT_FIELDS, encode_flow, flows_of
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import tunnelled

TUNNEL = seal(tunnelled(), 1001.5)


def _flow_lines(record: Record) -> bytes:
    return b"".join(encode_flow(key, flow, DEFAULT_FIELDS) for key, flow in flows_of(record))


WRITERS: dict[str, Callable[[Record], bytes]] = {
    "json": json.encode,
    "text": text.encode,
    "squid": squid.encode,
    "envoy": envoy.encode_default,
    "istio": envoy.encode_istio,
    "envoy json": envoy.encode_json,
    "vpc": _flow_lines,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_tells_its_format_itself(tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / "log"
    content = WRITERS[name](TUNNEL) * 3
    path.write_bytes(gzip.compress(content) if packed else content)
    records = list(read_records([str(path), str(path)], Reading()))
    assert sum(record["bytes_down"] for record in records) == 6 * 4096
    assert {record["client_address"] for record in records} == {"10.0.0.1"}


def test_torn_lines_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(json.encode(TUNNEL) + b'{"time":"2027\n' + json.encode(TUNNEL) + json.encode(TUNNEL)[:40])
    reading = Reading()
    assert len(list(read_records([str(path)], reading))) == 2
    assert (reading.lines, reading.skipped) == (4, 2)
    assert reading.examples == [f"{path}:2: not JSON", f"{path}:4: not JSON"]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"2027-01-15T08:00:00.123Z INFO the policy was reloaded\n" * 30])
def test_what_stands_before_the_first_record_hides_none(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(before + json.encode(TUNNEL))
    assert len(list(read_records([str(path)], Reading()))) == 1


def test_a_flow_log_without_a_flow_of_tcp_is_a_flow_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"2 1 eni-1 10.0.0.1 203.0.113.5 40000 53 17 1 60 1700000000 1700000060 ACCEPT OK\n")
    reading = Reading()
    assert not list(read_records([str(path)], reading))
    assert reading.examples == [f"{path}:1: a flow of IP protocol 17, not of TCP"]


@pytest.mark.parametrize("content", [b"nonsense\n" * 100, b"\x1f\x8bnonsense", b"x" * 3_000_000])
def test_a_file_without_records_ends_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=str(path)):
        list(read_records([str(path)], Reading()))


def test_what_is_wrong_with_a_file_is_said_of_its_own_line(tmp_path: Path) -> None:
    torn, other = tmp_path / "torn", tmp_path / "other"
    torn.write_bytes(json.encode(TUNNEL) + b"nonsense\n" * 10)
    other.write_bytes(b"nonsense\n" * 3)
    with pytest.raises(Unreadable, match=f"^{other}: holds no records; {other}:1: "):
        list(read_records([str(torn), str(other)], Reading()))


def test_a_cut_off_archive_and_a_missing_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(json.encode(TUNNEL) * 100)[:-20])
    with pytest.raises(Unreadable, match=r"log\.gz"):
        list(read_records([str(path)], Reading()))
    with pytest.raises(Unreadable, match="No such file"):
        list(read_records([str(tmp_path / "missing")], Reading()))


def test_an_empty_file_is_no_error_and_the_position_is_told(tmp_path: Path) -> None:
    empty, path = tmp_path / "empty", tmp_path / "log"
    empty.touch()
    path.write_bytes(json.encode(TUNNEL) * 5000)
    told: list[int] = []
    assert len(list(read_records([str(empty), str(path)], Reading(), tick=told.append))) == 5000
    assert (told[0], told[-1]) == (0, path.stat().st_size)
