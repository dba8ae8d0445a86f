"""The leaves of a settings file as types: each has a parser from units.py and a JSON Schema that accepts the same."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from gateway.model.addresses import Network
from gateway.model.names import HostName
from gateway.policy.rules import PortRange
from gateway.settings.hosts import HostEntry, parse_host_entry
from gateway.settings.units import (
    BASE_URL,
    BUDGET,
    BYTE_RATE,
    DURATION,
    RATE,
    SIZE,
    URL_PATH,
    Budget,
    Endpoint,
    parse_auto_count,
    parse_auto_size,
    parse_budget,
    parse_burst,
    parse_byte_rate,
    parse_cidr,
    parse_collector_url,
    parse_count,
    parse_domain,
    parse_duration,
    parse_duration_or_zero,
    parse_endpoint,
    parse_flag,
    parse_key_source,
    parse_label,
    parse_last_day,
    parse_name_server,
    parse_optional_duration,
    parse_optional_endpoint,
    parse_output_path,
    parse_path,
    parse_policy_location,
    parse_port,
    parse_rate,
    parse_server_url,
    parse_share,
    parse_size,
    parse_store,
    parse_text,
    parse_url_path,
    parse_version,
)


def _text(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", "examples": list(examples)})


def _string(*examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "examples": list(examples)})


_COUNT = {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}
_NULL = {"type": "null"}
_PATH = WithJsonSchema({"type": "string", "minLength": 1})
_ENDPOINT = {"type": "string", "pattern": r"^(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"}
_PORT_NUMBER = {"type": "integer", "minimum": 1, "maximum": 65535}

Duration = Annotated[float, PlainValidator(parse_duration), _text(DURATION, "10s", "5m")]
DurationOrZero = Annotated[float, PlainValidator(parse_duration_or_zero), _text(DURATION, "0s", "1s")]
OptionalDuration = Annotated[
    float | None,
    PlainValidator(parse_optional_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{DURATION}$"}, _NULL]}),
]
Size = Annotated[int, PlainValidator(parse_size), _text(SIZE, "64KiB", "10MiB")]
Rate = Annotated[float, PlainValidator(parse_rate), _text(RATE, "50/s", "10/m")]
ByteRate = Annotated[float, PlainValidator(parse_byte_rate), _text(BYTE_RATE, "10MiB/s")]
ByteBudget = Annotated[Budget, PlainValidator(parse_budget), _text(BUDGET, "50GiB/day")]
Count = Annotated[int, PlainValidator(parse_count), WithJsonSchema(_COUNT)]
OptionalCount = Annotated[Count | None, WithJsonSchema({"anyOf": [_COUNT, _NULL]})]
Burst = Annotated[
    int,
    PlainValidator(parse_burst),
    WithJsonSchema({"anyOf": [_COUNT, {"type": "string", "pattern": f"^{SIZE}$"}]}),
]
AutoCount = Annotated[
    int | Literal["auto"], PlainValidator(parse_auto_count), WithJsonSchema({"anyOf": [_COUNT, {"const": "auto"}]})
]
AutoSize = Annotated[
    int | Literal["auto"],
    PlainValidator(parse_auto_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE}$"}, {"const": "auto"}]}),
]
Version = Annotated[Literal[1], PlainValidator(parse_version), WithJsonSchema({"const": 1})]
Share = Annotated[float, PlainValidator(parse_share), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
Flag = Annotated[bool, PlainValidator(parse_flag), WithJsonSchema({"type": "boolean"})]
Text = Annotated[str, PlainValidator(parse_text), _string()]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
UrlPath = Annotated[str, PlainValidator(parse_url_path), _text(URL_PATH, "/dns-query")]
CollectorUrl = Annotated[str, PlainValidator(parse_collector_url), _text(BASE_URL, "http://collector:4318")]
ServerUrl = Annotated[str, PlainValidator(parse_server_url), _text(BASE_URL, "https://10.96.0.1:443")]
Label = Annotated[str, PlainValidator(parse_label), WithJsonSchema({"type": "string", "pattern": "^[^#]{1,128}$"})]
Cidr = Annotated[Network, PlainValidator(parse_cidr), _string("10.0.0.0/8", "2001:db8::/32")]
Bind = Annotated[Endpoint, PlainValidator(parse_endpoint), WithJsonSchema(_ENDPOINT)]
OptionalBind = Annotated[
    Endpoint | None, PlainValidator(parse_optional_endpoint), WithJsonSchema({"anyOf": [_ENDPOINT, _NULL]})
]
NameServer = Annotated[
    Endpoint | Literal["system"],
    PlainValidator(parse_name_server),
    _string("system", "192.0.2.53", "[2001:db8::53]:53"),
]
Port = Annotated[
    PortRange,
    PlainValidator(parse_port),
    WithJsonSchema(
        {
            "anyOf": [
                _PORT_NUMBER,
                {"type": "string", "pattern": "^(?:any|[0-9]{1,5}(?:-[0-9]{1,5})?)$"},
            ]
        }
    ),
]
LastDay = Annotated[float, PlainValidator(parse_last_day), _text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "2027-01-31")]
Domain = Annotated[HostName, PlainValidator(parse_domain), _string("cluster.local")]
FilePath = Annotated[Path, PlainValidator(parse_path), _PATH]
OutputPath = Annotated[Path | Literal["-"], PlainValidator(parse_output_path), _PATH]
KeySource = Annotated[
    Path | str,
    PlainValidator(parse_key_source),
    _string("jwks.json", "https://issuer.example/keys", "kubernetes"),
]
PolicyLocation = Annotated[Path | Literal["kubernetes"], PlainValidator(parse_policy_location), _PATH]
FlowField = Literal[
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
    "vpc-id",
    "subnet-id",
    "instance-id",
    "tcp-flags",
    "type",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "region",
    "az-id",
    "sublocation-type",
    "sublocation-id",
    "pkt-src-aws-service",
    "pkt-dst-aws-service",
    "flow-direction",
    "traffic-path",
]
Store = Annotated[str, PlainValidator(parse_store), _string("memory", "redis://cache:6379/0")]
Host = Annotated[
    HostEntry,
    PlainValidator(parse_host_entry),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "examples": ["example.com", "*.example.com", ".example.com", "*"]},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string", "pattern": r"^\*\."}, "depth": {"const": 1}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
