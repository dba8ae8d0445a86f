"""The benchmark's command line; `--help` says what its exit status means."""

import argparse
import importlib.metadata
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks import isolation, layout, load, markdown, report
from benchmarks.isolation import Unusable
from benchmarks.proxies import debian, ours, packaged
from benchmarks.proxies.launch import Launch, Place
from benchmarks.proxies.running import ProxyFailed
from benchmarks.report import Row
from benchmarks.scenarios import CAPTURED, SCENARIOS, SOAK, Sample, Scenario, Sizes, Unreconciled, measure

FAILED, UNUSABLE, MISSED = 1, 2, 3
_SHOWN = 4000
ALL = (*SCENARIOS, CAPTURED, SOAK)
PROXIES: dict[str, Callable[[Place], Launch]] = {
    "gateway": ours.gateway,
    "squid": debian.squid,
    "tinyproxy": debian.tinyproxy,
    "floor": ours.floor,
    "apache": debian.apache,
    "nginx": packaged.nginx,
    "envoy": packaged.envoy,
    "sing-box": packaged.sing_box,
    "proxy.py": packaged.proxy_py,
    "mitmproxy": packaged.mitmproxy,
    "pair": ours.pair,
    "traced": ours.traced,
    "rules-10": ours.few_rules,
    "rules-100k": ours.many_rules,
}
USUAL = ("gateway", "squid", "tinyproxy", "floor")

_EPILOG = """\
examples:
  python -m benchmarks                                                      everything, three rounds, about five minutes
  python -m benchmarks --only b --proxies gateway,squid --rounds 1          one figure, in seconds
  python -m benchmarks --only a,b --proxies gateway,pair                    two workers beside one
  python -m benchmarks --only a,b --proxies gateway,traced                  1 % traces and metrics over OTLP beside none
  python -m benchmarks --only soak                                          RSS before and after 100,000 tunnels
  python -m benchmarks --command ".venv313/bin/egress-gateway"              another gateway

Needs root (network and mount namespace of its own), gcc, and the peers: apt-get install squid-openssl tinyproxy.
exit status: 0 all targets met; 1 a run failed, or tunnels, counted connections and records differ; 2 cannot run here;
3 a target was missed (0 with --report-only)."""


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        if text == "all":
            return list(known)
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return [name for name in known if name in text.split(",")]

    return names


def _parser() -> argparse.ArgumentParser:
    sizes = Sizes()
    keys = [scenario.key for scenario in ALL]
    what = "; ".join(f"{scenario.key}: {scenario.title}" for scenario in ALL)
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measures the gateway beside squid and tinyproxy: CPU of the proxy's processes per unit of work.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    usual = [each.key for each in ALL if each is not SOAK]
    add("--only", metavar="KEYS", type=_some_of(keys), default=usual, help=what)
    add(
        "--proxies",
        metavar="NAMES",
        type=_some_of(list(PROXIES)),
        default=list(USUAL),
        help=f"of {', '.join(PROXIES)}, or all (pair: the gateway with two workers; traced: with a collector; "
        f"rules-N: with another number of rules); by default {','.join(USUAL)}",
    )
    add("--rounds", type=int, default=3, help="rounds; proxies take turns in each; the median counts (%(default)s)")
    add("--soak", action="store_true", help="add the soak scenario (gateway only)")
    add("--report-only", action="store_true", help="a missed target is not a failure")
    add("--python", default=sys.executable, help="the interpreter that runs `-m gateway` (this one)")
    add("--command", help="the gateway's command instead, `run -c FILE` is appended")
    add("--tunnels", type=int, default=sizes.tunnels, help="tunnels a run in a and b (%(default)s)")
    add("--concurrency", type=int, default=sizes.concurrency, help="tunnels at a time in a, b and rt (%(default)s)")
    add("--roundtrips", type=int, default=sizes.roundtrips, help="round trips a run (%(default)s)")
    add("--bulk-bytes", type=int, default=sizes.bulk_bytes, help="bytes a run and direction (%(default)s)")
    add("--bulk-tunnels", type=int, default=sizes.bulk_tunnels, help="tunnels that share them (%(default)s)")
    add("--idle", type=int, default=sizes.idle, help="idle tunnels held (%(default)s)")
    add("--requests", type=int, default=sizes.requests, help="requests a run in http (%(default)s)")
    add("--body-bytes", type=int, default=sizes.body_bytes, help="bytes of a body in each direction (%(default)s)")
    add("--messages", type=int, default=sizes.messages, help="long round trips a run (%(default)s)")
    add("--denials", type=int, default=sizes.denials, help="refused tunnels a run (%(default)s)")
    add("--alone", type=int, default=sizes.alone, help="tunnels one after the other in latency (%(default)s)")
    add("--publish", type=Path, metavar="DIRECTORY", help="write report.json, report.md and plots there as well")
    add("--soak-tunnels", type=int, default=sizes.soak, help="tunnels of the soak (%(default)s)")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _launches(options: argparse.Namespace, configurations: Path, logs: Path) -> list[Launch]:
    command = shlex.split(options.command) if options.command else [options.python, "-m", "gateway"]
    launches = []
    for name in options.proxies:
        own_logs = logs / name
        own_logs.mkdir()
        launches.append(PROXIES[name](Place(configurations, own_logs, options.python, command)))
    return launches


def _run(
    scenario: Scenario, launches: Sequence[Launch], sizes: Sizes, rounds: int, failed: dict[str, str]
) -> dict[str, list[Sample]]:
    """A peer that cannot do the work is left out from then on, and noted in `failed`; the gateway must be able to."""
    launches = [launch for launch in launches if scenario.suits(launch)]
    rounds = 1 if scenario is SOAK else rounds
    samples: dict[str, list[Sample]] = {launch.name: [] for launch in launches}
    for number in range(1, rounds + 1):
        for launch in [launch for launch in launches if launch.name in samples]:
            began = time.monotonic()
            try:
                sample = measure(scenario, launch, sizes)
            except (load.LoadFailed, ProxyFailed) as error:
                if launch.is_gateway:
                    raise
                failed[f"{scenario.key}, {launch.name}"] = _shown(str(error))
                del samples[launch.name]
                _say(f"{scenario.key:5} {number}/{rounds} {launch.name:10} FAILED: {error}")
                continue
            samples[launch.name].append(sample)
            details = "".join(f", {name} {value:.3g}" for name, value in sample.details.items())
            _say(f"{scenario.key:5} {number}/{rounds} {launch.name:10} {sample.cost:8.4g} {scenario.unit}, "
                 f"{sample.rate:,.4g} {scenario.rate_unit}{details}  [{time.monotonic() - began:.0f} s]")  # fmt: skip
    return samples


def _version(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return _shown((done.stdout or done.stderr).strip().partition("\n")[0])


def _version_of(launch: Launch) -> str:
    """In its own words, or that of its Python package."""
    if launch.environ.get("PYTHONPATH"):
        found = importlib.metadata.distributions(name=launch.name, path=[launch.environ["PYTHONPATH"]])
        return next((f"{launch.name} {each.version}" for each in found), "unknown")
    option = {"envoy": "--version", "sing-box": "version"}.get(launch.name, "-v")
    return "-" if launch.name == "floor" else _version([launch.command[0], option])


def _shown(text: str) -> str:
    """Shortened, and without the paths of this machine."""
    return re.sub(rf"{re.escape(str(layout.HERE.parent))}/|/tmp/benchmarks-\w+/", "", text)[:_SHOWN]


def _about(options: argparse.Namespace, launches: Sequence[Launch]) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "load_average": os.getloadavg()},
        "python": platform.python_version(),
        "peers": {launch.name: _version_of(launch) for launch in launches if not launch.is_gateway},
        "configurations": {launch.name: _shown(launch.configuration.read_text()) for launch in launches},
        "options": {name: _shown(str(value)) for name, value in vars(options).items() if value is not None},
    }


def _measure_all(options: argparse.Namespace, directory: Path, logs: Path) -> list[Row]:
    scenarios = [scenario for scenario in ALL if scenario.key in options.only or (scenario is SOAK and options.soak)]
    sizes = Sizes(
        tunnels=options.tunnels,
        concurrency=options.concurrency,
        roundtrips=options.roundtrips,
        bulk_bytes=options.bulk_bytes,
        bulk_tunnels=options.bulk_tunnels,
        idle=options.idle,
        soak=options.soak_tunnels,
        requests=options.requests,
        body_bytes=options.body_bytes,
        messages=options.messages,
        denials=options.denials,
        alone=options.alone,
    )
    launches = _launches(options, directory, logs)
    for launch in launches:
        _say(f"{launch.name}: {launch.configuration}")
    failed: dict[str, str] = {}
    with load.origin():
        samples = {scenario.key: _run(scenario, launches, sizes, options.rounds, failed) for scenario in scenarios}
    rows = [report.row(scenario, samples[scenario.key], samples) for scenario in scenarios]
    report.print_table(rows, options.proxies, sys.stdout)
    about = {**_about(options, launches), "failed": failed}
    report.write_json(directory / "report.json", rows, samples, about)
    markdown.publish(directory, rows, samples, about)
    if options.publish:
        markdown.publish(options.publish, rows, samples, about)
        report.write_json(options.publish / "report.json", rows, samples, about)
    for warning in report.busy_generators(rows):
        _say(f"note: {warning}")
    _say(f"report: {directory / 'report.json'}")
    return rows


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)


def _inside(options: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    directory = layout.HERE / "report" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    with isolation.prepared(layout.hosts_file()) as logs:
        rows = _measure_all(options, directory, logs)
    missed = [row.scenario.key for row in rows if row.met is False]
    if missed:
        _say(f"targets missed: {', '.join(missed)}")
    return MISSED if missed and not options.report_only else 0


def main() -> int:
    options = _parser().parse_args()
    try:
        load.build()
        if not isolation.is_isolated():
            isolation.enter(sys.argv[1:])
        return _inside(options)
    except Unusable as error:
        _say(f"benchmarks: {error}")
        return UNUSABLE
    except (load.LoadFailed, ProxyFailed, Unreconciled) as error:
        _say(f"benchmarks: FAILED: {error}")
        return FAILED
    except KeyboardInterrupt:
        _say("benchmarks: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
