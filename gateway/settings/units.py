"""Text into numbers and values: one parser for each kind of leaf (leaves.py makes them types).

Durations are float seconds, sizes are bytes, rates are per second. Every parser raises BadValue with one line that says
what is expected; a number without its unit is refused.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo

from gateway.model.addresses import Address, Network, parse_address, parse_network
from gateway.model.names import HostName
from gateway.policy.rules import PortRange
from gateway.settings.hosts import parse_name
from gateway.settings.problems import BadValue, show_value

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
DURATION = rf"{_NUMBER}(?:ms|s|m|h|d)"
SIZE = rf"{_NUMBER}(?:B|KiB|MiB|GiB|TiB)"
RATE = rf"{_NUMBER}/[smhd]"
BYTE_RATE = rf"{SIZE}/s"
BUDGET = rf"{SIZE}/(?:hour|day)"
URL_PATH = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}"
BASE_URL = r"https?://[A-Za-z0-9._\[\]:-]{1,253}(/[A-Za-z0-9._~/-]{0,200})?"
KEYS_URL = r"https://[A-Za-z0-9._\[\]:-]{1,253}(/[A-Za-z0-9._~/-]{0,200})?"
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_NAME_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port to bind to or to ask; to bind to port 0 lets the kernel choose."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"{self.address.uri_host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes in each UTC hour or day."""

    size: int
    per: Literal["hour", "day"]


def _matched(value: object, pattern: str, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise BadValue(f"{show_value(value)} is not {what}")
    return value


def _scaled(text: str, units: dict[str, float] | dict[str, int]) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * units[unit]


def parse_duration_or_zero(value: object) -> float:
    """`500ms 2s 5m 1h 7d`, in seconds."""
    return _scaled(_matched(value, DURATION, "a duration such as 500ms, 2s, 5m, 1h or 7d"), SECONDS)


def parse_duration(value: object) -> float:
    """Like `parse_duration_or_zero`, but not zero."""
    seconds = parse_duration_or_zero(value)
    if seconds == 0:
        raise BadValue("must be longer than 0")
    return seconds


def parse_optional_duration(value: object) -> float | None:
    """A duration, or null for none."""
    return None if value is None else parse_duration(value)


def parse_size(value: object) -> int:
    """`64KiB 10MiB`, in bytes."""
    size = int(_scaled(_matched(value, SIZE, "a size such as 512B, 64KiB, 10MiB or 1GiB"), BYTES))
    if size < 1:
        raise BadValue("must be more than 0")
    return size


def parse_rate(value: object) -> float:
    """`50/s 10/m`, per second."""
    number, _, period = _matched(value, RATE, "a rate such as 50/s, 10/m, 100/h or 5/d").partition("/")
    if float(number) == 0:
        raise BadValue("must be more than 0")
    return float(number) / SECONDS[period]


def parse_byte_rate(value: object) -> float:
    """`10MiB/s`, bytes per second."""
    return parse_size(_matched(value, BYTE_RATE, "a bandwidth such as 512KiB/s or 10MiB/s").removesuffix("/s"))


def parse_budget(value: object) -> Budget:
    """`50GiB/day`, `1GiB/hour`."""
    size, _, per = _matched(value, BUDGET, "a budget such as 1GiB/hour or 50GiB/day").partition("/")
    return Budget(parse_size(size), "hour" if per == "hour" else "day")


def parse_count(value: object) -> int:
    """A whole number from 1 to a billion."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000_000:
        raise BadValue(f"must be a whole number from 1, not {show_value(value)}")
    return value


def parse_share(value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadValue(f"must be a number from 0 to 1, not {show_value(value)}")
    return float(value)


def parse_burst(value: object) -> int:
    """A number of things, or a size for bandwidth."""
    return parse_size(value) if isinstance(value, str) else parse_count(value)


def parse_auto_count(value: object) -> int | Literal["auto"]:
    """A whole number from 1, or `auto`."""
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        raise BadValue(f"must be a whole number or auto, not {show_value(value)}")
    return parse_count(value)


def parse_auto_size(value: object) -> int | Literal["auto"]:
    """A size, or `auto`."""
    return "auto" if value == "auto" else parse_size(value)


def parse_version(value: object) -> Literal[1]:
    """1, the only version; in Python `True` equals it and is refused."""
    if isinstance(value, bool) or value != 1:
        raise BadValue(f"must be 1, not {show_value(value)}")
    return 1


def parse_flag(value: object) -> bool:
    """`true` or `false`, nothing else."""
    if not isinstance(value, bool):
        raise BadValue(f"must be true or false, not {show_value(value)}")
    return value


def parse_text(value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise BadValue(f"must be text, not {show_value(value)}")
    return value


def parse_label(value: object) -> str:
    """The name of a rule, a group, a quota: one printable line without `#`, which separates file and rule."""
    text = parse_text(value)
    if len(text) > _NAME_CHARACTERS or not text.isprintable() or "#" in text or text.strip() != text:
        raise BadValue(f"must be at most {_NAME_CHARACTERS} printable characters, without # or blanks at its ends")
    return text


def parse_cidr(value: object) -> Network:
    """`10.0.0.0/8`, `2001:db8::/32`, or one address."""
    network = parse_network(value) if isinstance(value, str) else None
    if network is not None:
        return network
    raise BadValue(f"{show_value(value)} is not a network such as 10.0.0.0/8 or 2001:db8::/32{_meant_network(value)}")


def _meant_network(value: object) -> str:
    """A hint at the network without host bits, if they are the mistake."""
    head, _, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    address = parse_address(head)
    width = 0 if address is None else 32 if address.version == 4 else 128
    if address is None or not length.isdecimal() or len(length) > 3 or not int(length) <= width:
        return ""
    host_bits = width - int(length)
    meant = Network(address.version, address.value >> host_bits << host_bits, int(length))
    return f": bits are set beyond the prefix, did you mean {meant}?"


def parse_endpoint(value: object) -> Endpoint:
    """`127.0.0.1:3128` or `[::]:3128`."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    address = parse_address(host[1:-1] if bracketed else host)
    if not colon or address is None or bracketed != (":" in host) or not _is_port(port, lowest=0):
        raise BadValue(f'{show_value(value)} is not an address and port such as "127.0.0.1:3128" or "[::]:3128"')
    return Endpoint(address, int(port))


def parse_optional_endpoint(value: object) -> Endpoint | None:
    """An address and port, or null for none."""
    return None if value is None else parse_endpoint(value)


def parse_name_server(value: object) -> Endpoint | Literal["system"]:
    """`system`, `IP`, `IP:port` or `[IPv6]:port`; port 0, if none is given, stands for the transport's."""
    if value == "system":
        return "system"
    address = parse_address(value) if isinstance(value, str) else None
    if address is not None:
        return Endpoint(address, 0)
    try:
        endpoint = parse_endpoint(value)
    except BadValue:
        raise BadValue(f"{show_value(value)} is not a name server: system, IP, IP:port or [IPv6]:port") from None
    if endpoint.port == 0:
        raise BadValue("a name server does not listen on port 0")
    return endpoint


def parse_url_path(value: object) -> str:
    """The path of a URL, without query."""
    return _matched(value, URL_PATH, "the path of a URL such as /dns-query")


def parse_collector_url(value: object) -> str:
    """`http://` or `https://` with host and port, no user and no query."""
    return _base_url(value, "a collector such as http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS")


def parse_server_url(value: object) -> str:
    """The same of the API server."""
    return _base_url(value, "an API server such as https://10.96.0.1:443", "token_file")


def _base_url(value: object, what: str, credentials: str) -> str:
    if isinstance(value, str) and ("@" in value or "?" in value):
        raise BadValue(f"must have no user, password or query: credentials go into {credentials}")
    return _matched(value, BASE_URL, f"the address of {what}")


def parse_port(value: object) -> PortRange:
    """`443`, `8000-8100` or `any`."""
    if value == "any":
        return PortRange(1, 65535)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _PORT_RANGE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise BadValue(f"{show_value(value)} is not a port (443), a range (8000-8100) or any")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65535:
        raise BadValue(f"{show_value(value)}: ports go from 1 to 65535, ranges from low to high")
    return PortRange(first, last)


def _is_port(text: str, lowest: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and lowest <= int(text) <= 65535


def parse_last_day(value: object) -> float:
    """`2027-01-31`, the last UTC day, as the Unix second at which the next one begins."""
    text = _matched(value, r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day such as 2027-01-31")
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return (day + timedelta(days=1)).timestamp()
    except (ValueError, OverflowError):
        raise BadValue(f"{show_value(value)} is not a calendar day") from None


def parse_domain(value: object) -> HostName:
    """A host name without patterns."""
    return parse_name(parse_text(value))


def parse_path(value: object, info: ValidationInfo) -> Path:
    """A path; a relative one is relative to the file that names it."""
    directory = info.context["directory"] if info.context else Path()
    return Path(directory, parse_text(value))


def parse_output_path(value: object, info: ValidationInfo) -> Path | Literal["-"]:
    """A path, or `-` for standard output."""
    return "-" if value == "-" else parse_path(value, info)


def parse_key_source(value: object, info: ValidationInfo) -> Path | str:
    """A file, an https URL, or the word `kubernetes`."""
    if value == "kubernetes":
        return "kubernetes"
    if isinstance(value, str) and "://" in value:
        return _matched(value, KEYS_URL, "a file, `kubernetes`, or an address such as https://issuer.example/keys")
    return parse_path(value, info)


def parse_policy_location(value: object, info: ValidationInfo) -> Path | Literal["kubernetes"]:
    """A file, a directory, or the word `kubernetes`."""
    return "kubernetes" if value == "kubernetes" else parse_path(value, info)


def parse_store(value: object) -> str:
    """`memory` or a Redis URL. What is refused is not shown, since it may hold a password."""
    if not isinstance(value, str) or not re.fullmatch(r"memory|rediss?(?:\+sentinel|\+cluster)?://\S+", value):
        raise BadValue("must be memory or a redis:// URL (rediss, redis+sentinel, redis+cluster)")
    return value
