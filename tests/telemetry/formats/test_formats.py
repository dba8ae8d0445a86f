"""Every format: what it can hold of a record comes back from its reader, and other tools' own definitions match it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import unquote

import hypothesis
import orjson
import pytest
from flowlogs_reader.flowlogs_reader import FlowRecord
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.model.record import Ended, Side
from gateway.settings.gateway import AccessLogSettings
from gateway.settings.leaves import FlowField
from gateway.telemetry.exchanges import seal_exchange
from gateway.telemetry.formats import envoy, json, squid, text, vpc
from gateway.telemetry.formats.fields import NotARecord, Record, Recorded, time_of
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import accepted, denied, exchanged, tunnelled

TUNNEL = seal(tunnelled(), 1001.5)
DENIED = seal(denied(), 1000.25)
UNASKED = seal(accepted(), 1000.25)
EXCHANGE = seal_exchange(exchanged(), 1001.5)
SUMMED_UP = cast("Record", {**TUNNEL, "requests": 2})

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_labels = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
_hosts = st.one_of(
    st.lists(_labels, min_size=1, max_size=3).map(".".join), st.sampled_from(["203.0.113.9", "2001:db8::9"])
)
_ports = st.integers(1, 65535)
_counts = st.integers(0, 2**53)
_common: dict[str, st.SearchStrategy[Any]] = {
    "time": st.integers(0, 4_000_000_000_000).map(time_of),
    "connection_id": st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    "listener": _labels,
    "client_address": st.sampled_from(["10.0.0.1", "2001:db8::1"]),
    "client_port": st.integers(0, 65535),
    "decision": st.sampled_from(["allow", "deny", "none"]),
    "generation": st.integers(0, 9),
    "total_ms": st.integers(0, 10_000_000).map(lambda thousandths: thousandths / 1000),
    "bytes_up": _counts,
    "bytes_down": _counts,
    "ended": st.sampled_from(Ended),
    "ended_by": st.sampled_from(Side),
}
_optional: dict[str, st.SearchStrategy[Any]] = {
    "user": _words.filter(bool),
    "namespace": _labels,
    "service_account": _labels,
    "pod": _labels,
    "workload": _labels.map("Deployment/{}".format),
    "identity_doubt": st.just("ambiguous"),
    "spiffe": st.just("spiffe://cluster.local/ns/a/sa/b"),
    "original_address": st.just("2001:db8::7"),
    "status": st.integers(200, 599),
    "reason": st.sampled_from(Reason),
    "rule": st.tuples(_labels, _words.filter(bool)).map("#".join),
    "detail": _words.filter(bool),
    "groups": st.lists(_labels, min_size=1, max_size=3).map(tuple),
    "dialled_address": st.sampled_from(["203.0.113.5", "2001:db8::5"]),
    "sni": _hosts.filter(lambda host: ":" not in host),
}
_asked = {"host": _hosts, "port": _ports}
_connections = st.one_of(
    st.fixed_dictionaries({**_common}, optional={"reason": st.sampled_from(Reason)}),
    st.fixed_dictionaries({**_common, **_asked, "door": st.just("connect")}, optional=_optional),
)
_exchanges = st.fixed_dictionaries(
    {
        **_common,
        **_asked,
        "door": st.just("absolute_form"),
        "exchange_id": st.from_regex(r"[0-9a-f]{16}-[1-9]", fullmatch=True),
        "method": st.sampled_from(["GET", "POST", "PATCH"]),
        "path": _words.map("/{}".format),
    },
    optional={key: kind for key, kind in _optional.items() if key != "sni"},
)
_records = st.one_of(_connections, _exchanges)


@dataclass(frozen=True)
class Format:
    """A writer, its reader, and what of a record has a place between them."""

    name: str
    encode: Callable[[Record], bytes]
    decode: Callable[[bytes], Recorded | None]
    holds: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def _kept(record: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: record[key] for key in keys if key in record}


def _held_by_text(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in record.items() if key != "generation"}


_BASE = ("time", "client_address", "bytes_down", "host", "port", "status", "dialled_address", "door", "method", "path")


def _held_by_squid(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whole milliseconds; no bytes up."""
    held = {**_kept(record, *_BASE, "user", "decision"), "bytes_up": 0, "total_ms": float(round(record["total_ms"]))}
    return _with_plain_path(held)


def _held_by_istio(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whole milliseconds; of verdicts only whether it was denied, and else whether the destination was reached."""
    held = _kept(record, *_BASE, "client_port", "bytes_up", "sni", "rule", "reason")
    held["total_ms"] = float(round(record["total_ms"]))
    if "method" in record:
        doors = {80: "absolute_form", 443: "connect"}
        held.pop("door")
        held |= {"door": doors[record["port"]]} if record["port"] in doors else {}
    reached = "allow" if "dialled_address" in record else "none"
    held["decision"] = "deny" if record["decision"] == "deny" else reached
    return _with_plain_path(held)


def _held_by_envoy(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {k: v for k, v in _held_by_istio(record).items() if k not in ("client_port", "sni", "rule", "reason")}


def _with_plain_path(held: dict[str, Any]) -> dict[str, Any]:
    """A path may come back percent-encoded, which names the same."""
    if "path" in held:
        held["path"] = unquote(held["path"], errors="surrogatepass")
    return held


def _held_by_vpc(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The flow there: whole seconds, and addresses only."""
    if "port" not in record:
        return None
    began, ended = (int(ms // 1000) for ms in _span(record))
    held = {
        "time": time_of(began * 1000),
        "total_ms": (ended - began) * 1000.0,
        **_kept(record, "client_address", "client_port", "port", "bytes_up", "listener"),
        "decision": "allow" if record["decision"] == "allow" else "deny",
        "bytes_down": 0,
        "is_answer": False,
    }
    literal = record["host"] if record["host"] in ("203.0.113.9", "2001:db8::9") else None
    address = record.get("dialled_address") or literal
    return held if address is None else held | {"host": address, "dialled_address": address}


def _span(record: Mapping[str, Any]) -> tuple[float, float]:
    began = round(datetime.fromisoformat(record["time"]).timestamp() * 1000)
    return began, round(began + record["total_ms"])


VPC_FIELDS = (*vpc.DEFAULT_FIELDS, "flow-direction")


def _encode_flow_there(record: Record) -> bytes:
    return b"".join(vpc.encode_flow(*pair, VPC_FIELDS) for pair in list(vpc.flows_of(record))[:1])


def _decode_flow(line: bytes) -> Recorded | None:
    return vpc.FlowReader(VPC_FIELDS).decode(line) if line else None


FORMATS = [
    Format("json", json.encode, json.decode, lambda record: {**record, **_lists(record)}),
    Format("text", text.encode, text.decode, _held_by_text),
    Format("squid", squid.encode, squid.decode, _held_by_squid),
    Format("envoy", envoy.encode_default, envoy.decode, _held_by_envoy),
    Format("istio", envoy.encode_istio, envoy.decode, _held_by_istio),
    Format("istio json", envoy.encode_json, envoy.decode, _held_by_istio),
    Format("vpc", _encode_flow_there, _decode_flow, _held_by_vpc),
]


def _lists(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: list(value) for key, value in record.items() if isinstance(value, tuple)}


def _comes_back(format_: Format, record: Mapping[str, Any]) -> None:
    line = format_.encode(cast("Record", record))
    assert line.count(b"\n") <= 1
    read = format_.decode(line)
    if read is not None and "path" in read and format_.name not in ("json", "text"):
        read["path"] = unquote(read["path"], errors="surrogatepass")
    assert read == format_.holds(record)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_what_a_format_can_hold_comes_back(format_: Format) -> None:
    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(_records)
    def holds(record: Mapping[str, Any]) -> None:
        _comes_back(format_, record)

    holds()


def test_the_property_catches_a_writer_that_swaps_the_directions() -> None:
    def confused(record: Record) -> bytes:
        swapped = {**record, "bytes_up": record["bytes_down"], "bytes_down": record["bytes_up"]}
        return envoy.encode_istio(cast("Record", swapped))

    @hypothesis.settings(phases=[hypothesis.Phase.generate], deadline=None)
    @hypothesis.given(_records)
    def planted(record: Mapping[str, Any]) -> None:
        _comes_back(Format("planted", confused, envoy.decode, _held_by_istio), record)

    with pytest.raises(AssertionError):
        planted()


@pytest.mark.parametrize("format_", FORMATS[1:-1], ids=lambda format_: format_.name)
@pytest.mark.parametrize("line", [b"", b"{}", b"nonsense", b"\xff\xfe", b"[a] b c", b'{"start_time":1}', b"1 2 3"])
def test_a_line_of_something_else_is_no_record(format_: Format, line: bytes) -> None:
    with pytest.raises(NotARecord):
        format_.decode(line)


@pytest.mark.parametrize("key", ["start_time", "authority", "upstream_host", "downstream_remote_address"])
@pytest.mark.parametrize("value", [5, [], {}])
def test_a_line_of_istio_with_another_type_than_text_is_no_record(key: str, value: object) -> None:
    written = orjson.loads(envoy.encode_json(TUNNEL)) | {key: value}
    with pytest.raises(NotARecord):
        envoy.decode(orjson.dumps(written))


def test_a_user_of_squid_that_is_no_utf_8_is_no_record() -> None:
    line = squid.encode(TUNNEL).replace(b" ci HIER", b" m%FCller HIER")
    assert b"%FC" in line
    with pytest.raises(NotARecord):
        squid.decode(line)


def test_a_line_of_text_that_was_cut_is_no_record_until_it_has_what_is_summed_up() -> None:
    line = text.encode(TUNNEL)
    whole = 0
    for size in range(len(line)):
        try:
            read = text.decode(line[:size])
        except NotARecord:
            continue
        assert read["bytes_down"] == TUNNEL["bytes_down"]
        whole += 1
    assert whole < 40  # inside the last value, or right behind one


@pytest.mark.parametrize("line", [b"[1]", b"{}", b'{"time":1,"client_address":"a","decision":"allow"}', b"{"])
def test_a_line_of_json_is_judged_by_the_types_of_what_is_needed(line: bytes) -> None:
    with pytest.raises(NotARecord):
        json.decode(line)


def test_a_connection_that_sums_up_its_requests_has_no_line_of_its_own_beside_theirs() -> None:
    encoders = (envoy.encode_default, envoy.encode_istio, envoy.encode_json, squid.encode, _encode_flow_there)
    assert [encode(SUMMED_UP) for encode in encoders] == [b""] * 5
    assert text.decode(text.encode(SUMMED_UP))["requests"] == 2


# ------------------------------------------------------------------------------------------- other tools' definitions

ENVOY_DEFAULT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""As Envoy's manual has it under "Default format string"."""
ISTIO_DEFAULT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""As Istio's manual has it under "Default access log format"."""
_OPERATORS = {
    "START_TIME": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "RESPONSE_CODE": r"\d{1,3}",
    "RESPONSE_FLAGS": r"(?:[A-Z]+(?:,[A-Z]+)*|-)",
    "BYTES_RECEIVED": r"\d+",
    "BYTES_SENT": r"\d+",
    "DURATION": r"(?:\d+|-)",
    "UPSTREAM_HOST": r"(?:(?:[\d.]+|\[[0-9a-f:]+\]):\d+|-)",
    "DOWNSTREAM_REMOTE_ADDRESS": r"(?:[\d.]+|\[[0-9a-f:]+\]):\d+",
}
_WORD = r'[^" ]+'
SQUID_NATIVE = "%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt\n"
"""As the manual of squid.conf has it under `logformat squid`."""
_CODES = {
    "%ts": r"(?P<ts>\d+)",
    "%03tu": r"(?P<tu>\d{3})",
    "%6tr": r"(?P<tr> *\d+)",
    "%>a": r"(?P<client>[0-9a-f.:]+)",
    "%Ss": r"(?P<Ss>[A-Z]+(?:_[A-Z]+)*)",
    "%03>Hs": r"(?P<Hs>\d{3})",
    "%<st": r"(?P<st>\d+)",
    "%rm": r"(?P<rm>[!#$%&'*+.^_`|~0-9A-Za-z-]+)",
    "%ru": r"(?P<ru>[!-~]+)",
    "%[un": r"(?P<un>[!-~]+)",
    "%Sh": r"(?P<Sh>[A-Z]+(?:_[A-Z]+)*)",
    "%<a": r"(?P<server>[0-9a-f.:]+|-)",
    "%mt": r"(?P<mt>[!-~]+)",
}


def pattern_of_envoy(format_string: str) -> re.Pattern[str]:
    """What lines an Envoy with this format string writes: its operators as groups, all other text as it stands."""
    pieces = re.split(r"%([A-Z_]+)(?:\(([^)]*)\))?%", format_string)
    pattern = re.escape(pieces[0])
    for operator, argument, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        name = "_".join([operator, *re.findall("[A-Z]+", argument or "")])
        pattern += f"(?P<{name}>{_OPERATORS.get(operator, _WORD)}){re.escape(literal)}"
    return re.compile(pattern)


def pattern_of_squid(format_string: str) -> re.Pattern[str]:
    """The same of a Squid."""
    pieces = re.split(r"(%\[?(?:0?\d+)?[<>]?[A-Za-z]+)", format_string)
    return re.compile("".join(_CODES[piece] if piece in _CODES else re.escape(piece) for piece in pieces))


@pytest.mark.parametrize("record", [TUNNEL, DENIED, UNASKED, EXCHANGE], ids=["tunnel", "denied", "unasked", "exchange"])
def test_envoys_own_format_strings_match_the_lines(record: Record) -> None:
    for format_string, encode in ((ENVOY_DEFAULT, envoy.encode_default), (ISTIO_DEFAULT, envoy.encode_istio)):
        found = pattern_of_envoy(format_string).fullmatch(encode(record).decode())
        assert found is not None, encode(record)
        assert (int(found["BYTES_RECEIVED"]), int(found["BYTES_SENT"])) == (record["bytes_up"], record["bytes_down"])
        assert found["START_TIME"] == record["time"]


def test_an_envoy_line_says_connect_authority_and_upstream() -> None:
    found = pattern_of_envoy(ISTIO_DEFAULT).fullmatch(envoy.encode_istio(TUNNEL).decode())
    assert found is not None
    assert found.group("REQ_METHOD", "REQ_AUTHORITY", "UPSTREAM_HOST", "REQUESTED_SERVER_NAME", "ROUTE_NAME") == (
        "CONNECT",
        "api.stripe.com:443",
        "203.0.113.5:443",
        "api.stripe.com",
        "policy.yaml#stripe",
    )
    refused = pattern_of_envoy(ISTIO_DEFAULT).fullmatch(envoy.encode_istio(DENIED).decode())
    assert refused is not None
    assert refused.group("RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS") == ("403", "UAEX", "no_rule")


ISTIO_LINE = (
    '[2020-11-25T21:26:18.409Z] "{request}" 200 - - - "TLS error: 1:SSL" 7 9 37 - "10.0.0.9" "{agent}" "-" '
    '"{authority}" "203.0.113.5:443" {cluster} 10.0.0.2:49834 10.0.0.2:8443 10.0.0.9:49832 {sni} -\n'
)


@pytest.mark.parametrize(
    ("authority", "cluster", "sni", "host"),
    [
        ("www.example", "outbound|443||other.example", "-", ("www.example", 80)),
        ("-", "outbound|8443||www.example", "outbound_.8443_._.www.example", ("www.example", 8443)),
        ("-", "PassthroughCluster", "www.example", ("www.example", 443)),
        ("-", "PassthroughCluster", "-", ("203.0.113.5", 443)),
    ],
)
def test_a_connection_that_istio_passes_on_is_for_where_it_goes(
    authority: str, cluster: str, sni: str, host: tuple[str, int]
) -> None:
    line = ISTIO_LINE.format(request="- - -", agent="-", authority=authority, cluster=cluster, sni=sni)
    record = envoy.decode(line.encode())
    assert (record["host"], record["port"]) == host
    assert record.get("sni") == (None if sni.startswith(("-", "outbound")) else sni)


def test_what_envoy_quotes_may_hold_blanks() -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64) [en]"
    line = ISTIO_LINE.format(request="GET / HTTP/1.1", agent=agent, authority="www.example", cluster="-", sni="-")
    assert envoy.decode(line.encode())["host"] == "www.example"
    with pytest.raises(NotARecord):  # which of the quotes end the field?
        envoy.decode(line.replace("[en]", '"en"').encode())


@pytest.mark.parametrize(
    ("tags", "decision"),
    [
        ("TCP_TUNNEL", "allow"),
        ("TCP_MISS_ABORTED", "allow"),
        ("TCP_DENIED_REPLY", "deny"),
        ("TCP_DENIED_ABORTED", "deny"),
        ("NONE_ABORTED", "none"),
        ("TAG_NONE", "none"),
    ],
)
def test_squid_adds_to_its_first_tags_what_else_happened(tags: str, decision: str) -> None:
    line = f"1700000000.123    456 10.0.0.1 {tags}/200 9 CONNECT www.example:443 - HIER_DIRECT/203.0.113.5 -\n"
    assert squid.decode(line.encode())["decision"] == decision


@pytest.mark.parametrize("record", [TUNNEL, DENIED, UNASKED, EXCHANGE], ids=["tunnel", "denied", "unasked", "exchange"])
def test_squids_own_format_matches_the_lines(record: Record) -> None:
    found = pattern_of_squid(SQUID_NATIVE).fullmatch(squid.encode(record).decode())
    assert found is not None, squid.encode(record)
    assert (int(found["st"]), found["client"]) == (record["bytes_down"], record["client_address"])


def test_a_request_inside_an_inspected_tunnel_is_told_from_one_in_absolute_form() -> None:
    inspected = cast("Record", {**EXCHANGE, "door": "connect", "port": 443, "inspected": True})
    assert envoy.decode(envoy.encode_default(inspected))["door"] == "connect"
    for port, authority in ((443, b"api.stripe.com"), (8443, b"api.stripe.com:8443"), (80, b"api.stripe.com:80")):
        line = squid.encode(cast("Record", {**inspected, "port": port}))
        assert b" POST https://" + authority + b"/v1/charges " in line
        assert (squid.decode(line)["door"], squid.decode(line)["port"]) == ("connect", port)
    clear = squid.encode(cast("Record", {**EXCHANGE, "door": "absolute_form", "port": 443}))
    assert b" POST http://api.stripe.com:443/v1/charges " in clear
    assert squid.decode(clear)["door"] == "absolute_form"


def test_an_envoy_line_does_not_say_by_which_door_a_request_at_another_port_came() -> None:
    for door in ("connect", "absolute_form"):
        line = envoy.encode_istio(cast("Record", {**EXCHANGE, "door": door, "port": 8443}))
        assert "door" not in envoy.decode(line)


def test_squid_lines_name_tunnels_urls_and_denials_as_squid_does() -> None:
    assert squid.encode(TUNNEL) == (
        b"1800000001.623   1500 10.0.0.1 TCP_TUNNEL/200 4096 CONNECT api.stripe.com:443 ci HIER_DIRECT/203.0.113.5 -\n"
    )
    assert b" TCP_DENIED/403 0 CONNECT api.stripe.com:443 ci HIER_NONE/- -" in squid.encode(DENIED)
    assert b" TCP_MISS/201 4096 POST http://api.stripe.com/v1/charges ci " in squid.encode(EXCHANGE)


# ---------------------------------------------------------------------------------------------------------- flow logs


def _parsed(line: bytes, fields: tuple[str, ...]) -> FlowRecord:
    names = [name.replace("-", "_") for name in fields]
    return FlowRecord.from_cwl_event({"message": line.decode()}, names)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")
def test_an_independent_reader_finds_both_directions_with_their_bytes() -> None:
    there, back = (
        _parsed(vpc.encode_flow(*pair, vpc.DEFAULT_FIELDS), vpc.DEFAULT_FIELDS) for pair in vpc.flows_of(TUNNEL)
    )
    assert (there.srcaddr, there.srcport, there.dstaddr, there.dstport) == ("10.0.0.1", 40000, "203.0.113.5", 443)
    assert (back.srcaddr, back.srcport, back.dstaddr, back.dstport) == ("203.0.113.5", 443, "10.0.0.1", 40000)
    assert (there.version, there.bytes, back.bytes, there.protocol, there.action) == (2, 517, 4096, 6, "ACCEPT")
    assert (there.packets, there.account_id, there.log_status) == (None, None, "OK")
    assert (there.end - there.start).total_seconds() == 1


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")
def test_an_independent_reader_finds_every_field_that_was_asked_for() -> None:
    fields = tuple(reversed(vpc.VERSIONS))
    line = _parsed(vpc.encode_flow(*next(vpc.flows_of(TUNNEL)), fields), fields)
    assert (line.version, line.flow_direction, line.type, line.pkt_dstaddr) == (5, "egress", "IPv4", "203.0.113.5")
    assert (line.vpc_id, line.tcp_flags, line.region, line.traffic_path) == (None, None, None, None)


def test_what_was_refused_is_rejected_and_has_no_way_back() -> None:
    (line,) = (vpc.encode_flow(*pair, vpc.DEFAULT_FIELDS) for pair in vpc.flows_of(DENIED))
    assert line == b"2 - proxy 10.0.0.1 - 40000 443 6 - 0 1800000000 1800000000 REJECT OK\n"


def test_a_reader_of_flows_takes_a_line_of_names_and_passes_over_silence() -> None:
    reader = vpc.FlowReader()
    assert reader.decode(b"srcaddr dstaddr srcport dstport bytes start end\n") is None
    read = reader.decode(b"203.0.113.5 10.0.0.1 443 40000 7 5 6\n")
    assert read is not None
    assert (read["client_address"], read["host"], read["bytes_down"]) == ("10.0.0.1", "203.0.113.5", 7)
    silence = vpc.encode_silence("proxy", 60, 120, "NODATA", vpc.DEFAULT_FIELDS)
    assert vpc.FlowReader().decode(silence) is None
    with pytest.raises(NotARecord, match="14 fields"):
        vpc.FlowReader().decode(b"2 -\n")


def test_the_settings_know_exactly_the_fields_that_can_be_written() -> None:
    assert set(get_args(FlowField)) == set(vpc.VERSIONS)
    AccessLogSettings.model_validate({"format": "vpc", "fields": list(vpc.VERSIONS)}, context={"directory": Path()})
