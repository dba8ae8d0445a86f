"""JSON lines: what is written can be read again."""

import json
from collections.abc import Callable
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.model.record import ConnectionRecord, Draft, Ended, Side
from gateway.telemetry.formats.fields import NotARecord
from gateway.telemetry.formats.json import decode, encode
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import accepted, denied, tunnelled
from tests.telemetry.lines import read_line

_KEYS = list(ConnectionRecord.__annotations__)


@pytest.mark.parametrize("draft", [accepted(), denied(), tunnelled()], ids=["accepted", "denied", "tunnelled"])
def test_a_record_goes_from_draft_to_line_and_back(draft: Draft) -> None:
    record = seal(draft, ended_at=1001.5)
    assert read_line(encode(record)) == record


def test_a_line_has_its_keys_in_order_and_none_without_a_value() -> None:
    line = encode(seal(tunnelled(), ended_at=1001.5))
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    written = json.loads(line)
    assert list(written) == [key for key in _KEYS if key in written]
    assert "reason" not in written
    assert None not in written.values()


def test_false_and_zero_are_values() -> None:
    written = json.loads(encode(seal(replace(tunnelled(), generation=0), ended_at=1001.5)))
    assert (written["ech"], written["generation"]) == (False, 0)


def test_a_later_versions_key_is_passed_over() -> None:
    record = seal(tunnelled(), ended_at=1001.5)
    line = json.dumps(json.loads(encode(record)) | {"spice_level": 3}).encode()
    assert decode(line) == decode(encode(record)) | {"spice_level": 3}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"\xff",
        encode(seal(accepted(), 1000.0))[:-3],
    ],
)
def test_what_is_no_record_is_not_read(line: bytes) -> None:
    with pytest.raises(NotARecord):
        decode(line)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_records = st.fixed_dictionaries(
    {
        "time": _text,
        "connection_id": _text,
        "listener": _text,
        "client_address": _text,
        "client_port": st.integers(0, 65535),
        "decision": st.sampled_from(["allow", "deny", "none"]),
        "generation": st.integers(0, 2**53),
        "total_ms": st.floats(0, 1e12, allow_nan=False),
        "bytes_up": st.integers(0, 2**63),
        "bytes_down": st.integers(0, 2**63),
        "ended": st.sampled_from(Ended),
        "ended_by": st.sampled_from(Side),
    },
    optional={
        "host": _text,
        "reason": st.sampled_from(Reason),
        "detail": _text,
        "alpn": st.lists(_text, min_size=1, max_size=3).map(tuple),
        "ech": st.booleans(),
        "dns_ms": st.floats(0, 1e6),
    },
)


def _is_read_as_it_was_written(record: ConnectionRecord, write: Callable[[ConnectionRecord], bytes]) -> None:
    line = write(record)
    assert line.count(b"\n") == 1
    assert read_line(line) == record


@hypothesis.given(_records)
def test_every_record_is_one_line_and_read_as_it_was_written(record: ConnectionRecord) -> None:
    _is_read_as_it_was_written(record, encode)


def test_the_property_catches_a_writer_that_leaves_out_what_is_false() -> None:
    def forgetful(record: ConnectionRecord) -> bytes:
        written: dict[str, object] = json.loads(encode(record))
        return json.dumps({key: value for key, value in written.items() if value is not False}).encode() + b"\n"

    @hypothesis.settings(phases=[hypothesis.Phase.generate])
    @hypothesis.given(_records)
    def planted(record: ConnectionRecord) -> None:
        _is_read_as_it_was_written(record, forgetful)

    with pytest.raises(AssertionError):
        planted()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2027-02-01T00:30:00.5+02:00", "2027-01-31T22:30:00.500Z"),
        ("2027-01-31T23:30:00-01:00", "2027-02-01T00:30:00.000Z"),
        ("2027-01-31T23:30:00+00:00", "2027-01-31T23:30:00.000Z"),
        ("2027-01-31T23:59:59Z", "2027-01-31T23:59:59Z"),
        ("2027-01-31 23:59:59", "2027-01-31 23:59:59"),
        ("yesterday", "yesterday"),
        ("", ""),
    ],
)
def test_a_time_in_another_zone_is_read_as_that_of_utc(written: str, read: str) -> None:
    line = json.dumps(json.loads(encode(seal(tunnelled(), ended_at=1001.5))) | {"time": written}).encode()
    assert decode(line)["time"] == read


def test_a_key_whose_value_is_null_is_none() -> None:
    record = seal(denied(), ended_at=1001.5)
    line = encode(record)
    written: dict[str, object] = dict.fromkeys(_KEYS) | json.loads(line)
    assert decode(json.dumps(written).encode()) == decode(line)


@pytest.mark.parametrize(
    "keys", [{"refused": 5}, {"refused": "203.0.113.5 (no)"}, {"host": None}, {"port": None}, {"port": "443"}]
)
def test_a_record_of_another_shape_is_passed_over_before_anybody_trips_over_it(keys: dict[str, object]) -> None:
    written = json.loads(encode(seal(tunnelled(), ended_at=1001.5))) | keys
    with pytest.raises(NotARecord):
        decode(json.dumps(written).encode())
