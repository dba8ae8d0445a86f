"""What is measured: each scenario starts a new proxy, warms it up, and measures one kind of work."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmarks import layout
from benchmarks.capture import captured
from benchmarks.load import Result, generate
from benchmarks.measure import (
    cpu_seconds,
    forget_peak,
    peak_bytes,
    proportional_bytes,
    resident_bytes,
    settled_cpu_seconds,
)
from benchmarks.proxies import counting
from benchmarks.proxies.launch import Launch
from benchmarks.proxies.running import Running, running
from gateway.telemetry.flows.ring import MOST_FLOWS

_WARM_UP = 300
_TURNS = 8
_GIGABYTE = 1e9
_AT_A_TIME = ("concurrency", "bulk_tunnels")
_LONG_MESSAGE = 16_384


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work one run does."""

    tunnels: int = 10_000
    concurrency: int = 32
    roundtrips: int = 200_000
    bulk_bytes: int = 2_000_000_000
    bulk_tunnels: int = 8
    idle: int = 9_000
    soak: int = 100_000
    requests: int = 50_000
    body_bytes: int = 1 << 30
    messages: int = 50_000
    denials: int = 10_000
    alone: int = 2_000

    def times(self, share: float) -> "Sizes":
        """Less of everything for a proxy that would take too long, but as many at a time."""
        fewer = {key: max(1, round(getattr(self, key) * share)) for key in self.__slots__ if key not in _AT_A_TIME}
        return replace(self, **fewer)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one scenario on one proxy. `cost` is in the scenario's unit, `rate` is units of work per second,
    `generator` the share of one core that the load generator used. `tunnels` counts all connections that it made and
    `requests` all requests of plain HTTP, warm-up too.
    """

    cost: float
    rate: float
    generator: float
    tunnels: int
    requests: int = 0
    details: dict[str, float] = field(default_factory=dict)


Work = Callable[[Running, Sizes], Sample]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of work and the unit of its cost. The gateway's target is a `ratio` to squid's cost, or to its own cost of
    the work `of` another kind, or an absolute `limit`. `plain`: plain HTTP; `denial`: refused by a list of names;
    `alone`: for the gateway only."""

    key: str
    title: str
    unit: str
    rate_unit: str
    work: Work
    ratio: float | None = None
    limit: float | None = None
    plain: bool = False
    denial: bool = False
    alone: bool = False
    of: str | None = None

    def suits(self, launch: Launch) -> bool:
        """Whether the proxy can do that kind of work at all."""
        return (
            (launch.plain or not self.plain)
            and (launch.denies or not self.denial)
            and not (self.alone and launch.name != "gateway")
        )


def _hellos(with_hello: bool) -> tuple[Path, ...]:
    return layout.HELLOS if with_hello else ()


def _warm_up(with_hello: bool, ports: tuple[int, int], captured: bool = False) -> int:
    counts = {"total": _WARM_UP, "tunnels": 8}
    with generate("tunnels", ports, counts, hellos=_hellos(with_hello), captured=captured) as load:
        return load.read().tunnels


def _sample(cpu: float, per: float, result: Result, tunnels: int, **details: float) -> Sample:
    """The cost is `cpu` divided by `per`."""
    seconds = max(result.seconds, 1e-9)
    return Sample(cpu / per, result.units / seconds, result.cpu_seconds / seconds, tunnels, details=details)


def _tunnels(running: Running, total: int, concurrency: int, with_hello: bool, captured: bool = False) -> Sample:
    ports = layout.TLS_PORTS if with_hello else layout.ECHO_PORTS
    warm = _warm_up(with_hello, ports, captured)
    before = settled_cpu_seconds(running.pid)
    counts = {"total": total, "tunnels": concurrency}
    with generate("tunnels", ports, counts, hellos=_hellos(with_hello), captured=captured) as load:
        result = load.read()
    cpu = settled_cpu_seconds(running.pid) - before
    return _sample(cpu, result.units / 1e6, result, warm + result.tunnels)


def tunnels_with_hello(running: Running, sizes: Sizes) -> Sample:
    return _tunnels(running, sizes.tunnels, sizes.concurrency, with_hello=True)


def tunnels_with_echo(running: Running, sizes: Sizes) -> Sample:
    return _tunnels(running, sizes.tunnels, sizes.concurrency, with_hello=False)


def captured_with_hello(running: Running, sizes: Sizes) -> Sample:
    """CPU of a captured connection, in per cent of a CONNECT's in the same process, both in turns."""
    connects, captures = [], []
    count = sizes.tunnels // _TURNS
    for _ in range(_TURNS):
        connects.append(_tunnels(running, count, sizes.concurrency, with_hello=True))
        with captured(layout.TLS_PORTS):
            captures.append(_tunnels(running, count, sizes.concurrency, with_hello=True, captured=True))
    connect, capture = (statistics.median(sample.cost for sample in samples) for samples in (connects, captures))
    return Sample(
        cost=100 * capture / connect,
        rate=statistics.median(sample.rate for sample in captures),
        generator=statistics.median(sample.generator for sample in captures),
        tunnels=sum(sample.tunnels for sample in (*connects, *captures)),
        details={"connect_us": connect, "captured_us": capture},
    )


def _round_trips(running: Running, total: int, concurrency: int, message: int) -> Sample:
    warm = _warm_up(False, layout.ECHO_PORTS)
    counts = {"total": total, "tunnels": concurrency, "message": message}
    with generate("roundtrips", layout.ECHO_PORTS, counts) as load:
        opened = load.read()
        before = settled_cpu_seconds(running.pid)
        result = load.go_on()
        cpu = cpu_seconds(running.pid) - before
        load.go_on()
    return _sample(cpu, result.units / 1e6, result, warm + opened.tunnels)


def roundtrips(running: Running, sizes: Sizes) -> Sample:
    return _round_trips(running, sizes.roundtrips, sizes.concurrency, 64)


def long_roundtrips(running: Running, sizes: Sizes) -> Sample:
    return _round_trips(running, sizes.messages, sizes.concurrency, _LONG_MESSAGE)


def denials(running: Running, sizes: Sizes) -> Sample:
    """A name that is on no list, on a port that is not on tinyproxy's: each proxy denies by what it can judge."""
    warm = _denied(_WARM_UP, 8)
    before = settled_cpu_seconds(running.pid)
    result = _denied(sizes.denials, sizes.concurrency)
    cpu = settled_cpu_seconds(running.pid) - before
    return _sample(cpu, result.units / 1e6, result, warm.units + result.units)


def _denied(total: int, at_a_time: int) -> Result:
    counts = {"total": total, "tunnels": at_a_time}
    with generate("denials", layout.DENIED_PORTS, counts, target=layout.DENIED) as load:
        return load.read()


def latency(running: Running, sizes: Sizes) -> Sample:
    """One tunnel after the other without any other load, then one message after the other: what the proxy adds to each,
    compared with the same without a proxy, in microseconds. The cost is what it adds to a tunnel's median."""
    details: dict[str, float] = {}
    made, rate = 0, 0.0
    for what, mode, ports, total in (
        ("tunnel", "tunnels", layout.TLS_PORTS, sizes.alone),
        ("trip", "roundtrips", layout.ECHO_PORTS, 10 * sizes.alone),
    ):
        direct, through = (_one_by_one(mode, ports, total, captured) for captured in (True, False))
        made, rate = made + through.tunnels, through.units / max(through.seconds, 1e-9)
        for name in ("p50", "p99", "p999"):
            details[f"{what}_{name}"] = getattr(through, name) - getattr(direct, name)
            details[f"{what}_{name}_direct"] = getattr(direct, name)
    del running
    return Sample(details["tunnel_p50"], rate, 0.0, made, details=details)


def _one_by_one(mode: str, ports: tuple[int, int], total: int, captured: bool) -> Result:
    hellos = layout.HELLOS if mode == "tunnels" else ()
    with generate(mode, ports, {"total": total, "tunnels": 1}, hellos=hellos, captured=captured) as load:
        result = load.read()
        if mode == "roundtrips":
            result = load.go_on()
            load.go_on()
        return result


def _one_way(running: Running, sizes: Sizes, direction: Literal["down", "up"]) -> tuple[float, Result]:
    with generate("bulk", layout.BULK_PORTS, {"tunnels": sizes.bulk_tunnels, direction: sizes.bulk_bytes}) as load:
        load.read()
        before = settled_cpu_seconds(running.pid)
        result = load.go_on()
        cpu = cpu_seconds(running.pid) - before
        load.go_on()
    return cpu, result


def bulk(running: Running, sizes: Sizes) -> Sample:
    warm = _warm_up(False, layout.ECHO_PORTS)
    down_cpu, down = _one_way(running, sizes, "down")
    up_cpu, up = _one_way(running, sizes, "up")
    total, seconds = (down.bytes + up.bytes) / _GIGABYTE, down.seconds + up.seconds
    return Sample(
        cost=(down_cpu + up_cpu) / total,
        rate=total / seconds,
        generator=(down.cpu_seconds + up.cpu_seconds) / seconds,
        tunnels=warm + down.tunnels + up.tunnels,
        details={"down": down_cpu / (down.bytes / _GIGABYTE), "up": up_cpu / (up.bytes / _GIGABYTE)},
    )


def idle(running: Running, sizes: Sizes) -> Sample:
    warm = _warm_up(True, layout.TLS_PORTS)
    settled_cpu_seconds(running.pid)
    before = proportional_bytes(running.pid)
    with generate("idle", layout.TLS_PORTS, {"tunnels": sizes.idle}, hellos=layout.HELLOS) as load:
        opened = load.read()
        settled_cpu_seconds(running.pid)
        held = proportional_bytes(running.pid) - before
        load.go_on()
    return _sample(held, opened.tunnels * 1e3, opened, warm + opened.tunnels)


def _requests(mode: str, counts: dict[str, int]) -> Result:
    with generate(mode, layout.HTTP_PORTS, counts, program="requests") as load:
        return load.read()


def requests(running: Running, sizes: Sizes) -> Sample:
    warm = _requests("get", {"total": _WARM_UP, "tunnels": 8})
    before = settled_cpu_seconds(running.pid)
    result = _requests("get", {"total": sizes.requests, "tunnels": sizes.concurrency})
    cpu = settled_cpu_seconds(running.pid) - before
    sample = _sample(cpu, result.units / 1e6, result, warm.tunnels + result.tunnels, connections=result.tunnels)
    return replace(sample, requests=warm.units + result.units)


def body(running: Running, sizes: Sizes) -> Sample:
    """The highest rise of RSS while one body goes down and one up."""
    warm = _requests("get", {"total": _WARM_UP, "tunnels": 8})
    settled_cpu_seconds(running.pid)
    forget_peak(running.pid)
    start, began = resident_bytes(running.pid), cpu_seconds(running.pid)
    down = _requests("download", {"total": 1, "tunnels": 1, "bytes": sizes.body_bytes})
    middle = cpu_seconds(running.pid)
    up = _requests("upload", {"total": 1, "tunnels": 1, "bytes": sizes.body_bytes})
    end, seconds, gigabytes = cpu_seconds(running.pid), down.seconds + up.seconds, sizes.body_bytes / _GIGABYTE
    return Sample(
        cost=(peak_bytes(running.pid) - start) / 2**20,
        rate=2 * gigabytes / seconds,
        generator=(down.cpu_seconds + up.cpu_seconds) / seconds,
        tunnels=warm.tunnels + down.tunnels + up.tunnels,
        requests=warm.units + 2,
        details={"cpu_s_per_gb_down": (middle - began) / gigabytes, "cpu_s_per_gb_up": (end - middle) / gigabytes},
    )


def start_up(running: Running, sizes: Sizes) -> Sample:
    """From the start of the process until it listens, and its memory then."""
    del sizes
    held = proportional_bytes(running.pid) / 1e6
    return Sample(cpu_seconds(running.pid), 1 / running.took, 0.0, 0, details={"seconds": running.took, "pss_mb": held})


def soak(running: Running, sizes: Sizes) -> Sample:
    """Growth of RSS in per cent, from the start and from when the flows kept for `observe` are at their maximum."""
    start = resident_bytes(running.pid)
    first = _tunnels(running, 2 * MOST_FLOWS, sizes.concurrency, with_hello=True)
    full = resident_bytes(running.pid)
    half = sizes.soak // 2
    hello = _tunnels(running, half, sizes.concurrency, with_hello=True)
    echo = _tunnels(running, sizes.soak - half, sizes.concurrency, with_hello=False)
    end = resident_bytes(running.pid)
    return Sample(
        cost=(end / start - 1) * 100,
        rate=(hello.rate + echo.rate) / 2,
        generator=(hello.generator + echo.generator) / 2,
        tunnels=first.tunnels + hello.tunnels + echo.tunnels,
        details={
            "rss_start_mb": start / 1e6,
            "rss_full_mb": full / 1e6,
            "rss_end_mb": end / 1e6,
            "growth_since_full_percent": (end / full - 1) * 100,
        },
    )


SCENARIOS = (
    Scenario("a", "tunnel on a tls rule", "us CPU", "tunnels/s", tunnels_with_hello, ratio=1.15),
    Scenario("b", "tunnel on a tcp rule", "us CPU", "tunnels/s", tunnels_with_echo, ratio=0.95),
    Scenario("deny", "refused tunnel", "us CPU", "refusals/s", denials, ratio=0.5, denial=True, of="a"),
    Scenario("rt", "64 B round trip", "us CPU", "trips/s", roundtrips, ratio=1.0),
    Scenario("rt16", "16 KiB round trip", "us CPU", "trips/s", long_roundtrips),
    Scenario("bulk", "bulk, per GB", "s CPU", "GB/s", bulk, ratio=0.34),
    Scenario("http", "request in absolute form", "us CPU", "requests/s", requests, ratio=0.6, plain=True),
    Scenario("body", "1 GiB each way, rise of RSS", "MiB", "GB/s", body, limit=32.0, plain=True),
    Scenario("idle", "idle tunnel", "kB PSS", "opened/s", idle, ratio=0.37),
    Scenario("latency", "added to a tunnel, p50", "us", "trips/s", latency),
    Scenario("start", "start-up", "s CPU", "starts/s", start_up),
)
CAPTURED = Scenario("captured", "captured TLS", "% of a", "tunnels/s", captured_with_hello, limit=115.0, alone=True)
SOAK = Scenario("soak", "growth of RSS", "%", "tunnels/s", soak, limit=5.0, alone=True)


class Unreconciled(Exception):
    """The numbers made, counted and recorded differ."""


def measure(scenario: Scenario, launch: Launch, sizes: Sizes) -> Sample:
    """One run. The gateway must have counted and recorded exactly what was made."""
    counted = (0, 0)
    with running(launch) as proxy:
        sample = scenario.work(proxy, sizes.times(launch.share))
        if launch.is_gateway:
            counted = counting.await_counted(sample.tunnels), counting.counted(counting.REQUESTS_METRIC)
    if launch.is_gateway:
        recorded = counting.records_in(launch.log)
        reconcile("connections", sample.tunnels, counted[0], recorded[0])
        reconcile("requests", sample.requests, counted[1], recorded[1])
    return sample


def reconcile(what: str, made: int, counted: int, recorded: int) -> None:
    """Everything that reaches the gateway comes from the load generator: the tool itself sends nothing there."""
    if not made == counted == recorded:
        raise Unreconciled(f"{what} made {made}, counted {counted}, recorded {recorded}")
