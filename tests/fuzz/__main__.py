"""`make fuzz`: every target for its share of the time, from the kept corpus on.

    python -m tests.fuzz --seconds 60                    all targets, two at once
    python -m tests.fuzz --seconds 600 --targets dns,head
    python -m tests.fuzz --planted --seconds 60          the same laws over faulty parsers: each fault must be found
    python -m tests.fuzz --keep                          fold what was found worth keeping into tests/fuzz/corpus

What crashed, hung (5 s) or grew (1 GiB) is in build/fuzz/findings, named after its target; the exit status is then 1.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.targets import PLANTED, TARGETS

WORK = Path("build/fuzz")
LONGEST = {"head": 4096, "request": 2048, "client_hello": 4096, "proxy_header": 1024, "dns": 2048, "policy": 2048}
GRACE = 120.0
KEPT, LONGEST_KEPT = 48, 512
"""Inputs of a target in tests/fuzz/corpus, and their bytes."""


@dataclass(frozen=True)
class Report:
    """What became of one target."""

    target: str
    executions: int
    coverage: int
    findings: Sequence[Path]
    log: Path


def fuzz(target: str, seconds: int, planted: bool) -> Report:
    """In a process of its own."""
    kind = "planted" if planted else "real"
    growing, findings = WORK / "corpus" / kind / target, WORK / "findings" / kind
    corpus.unpack(target, growing, unless=partial(_shows_the_fault, target) if planted else _never)
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.glob(f"{target}-*"))
    log = WORK / f"{kind}-{target}.log"
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={findings}/{target}-", f"-max_len={LONGEST[target]}"]
    _drive(
        target,
        planted,
        [*options, "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1", str(growing)],
        log,
        seconds,
    )
    said = log.read_text(errors="replace")
    return Report(
        target,
        max(map(int, re.findall(r"^#(\d+)\t", said, re.MULTILINE)), default=0),
        max(map(int, re.findall(r" cov: (\d+) ", said)), default=0),
        _found(said, sorted(set(findings.glob(f"{target}-*")) - before), log),
        log,
    )


def _found(said: str, artifacts: Sequence[Path], log: Path) -> Sequence[Path]:
    """libFuzzer does not always get as far as writing the input down."""
    return artifacts or ([log] if "Uncaught Python exception" in said else [])


def _never(data: bytes) -> bool:
    return False


def _shows_the_fault(target: str, data: bytes) -> bool:
    """What does is left out: it is to be found."""
    try:
        PLANTED[target](data)
    except Exception:  # noqa: BLE001 - whatever a fault raises
        return True
    return False


def _drive(target: str, planted: bool, arguments: Sequence[str], log: Path, seconds: float) -> None:
    own = [target, *(["planted"] if planted else [])]
    command = [sys.executable, "-m", "tests.fuzz.driver", *own, "--", *arguments]
    with log.open("wb") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=seconds + GRACE)


def keep(target: str) -> int:
    """Of the inputs that reached something new some of every length; how many are kept now."""
    kept = corpus.load(target)
    grown = sorted((path.read_bytes() for path in (WORK / "corpus" / "real" / target).iterdir()), key=len)
    fresh = [data for data in grown if data not in kept and len(data) <= LONGEST_KEPT]
    room = max(0, KEPT - len(kept))
    corpus.save(target, [*kept, *fresh[:: max(1, len(fresh) // max(1, room))][:room]])
    return len(corpus.load(target))


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 if something was found, or a planted fault was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every parser of untrusted bytes.")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("SECONDS", "60")), help="in total")
    parser.add_argument("--targets", default="", help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--planted", action="store_true", help="fuzz faulty parsers; each fault must be found")
    parser.add_argument("--keep", action="store_true", help="only fold what was found into tests/fuzz/corpus")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args(arguments)
    targets = tuple(filter(None, asked.targets.split(","))) or tuple(PLANTED if asked.planted else TARGETS)
    if asked.keep:
        for target in targets:
            print(f"{target}: {keep(target)} inputs kept")
        return 0
    each = max(1, asked.seconds * asked.jobs // len(targets))
    with ThreadPoolExecutor(asked.jobs) as threads:
        reports = list(threads.map(lambda target: fuzz(target, each, asked.planted), targets))
    for report in reports:
        print(
            f"{report.target:<13} {report.executions:>10,} executions, {report.coverage:>5} edges,"
            f" {len(report.findings)} findings{'' if report.executions else f': see {report.log}'}"
        )
        for finding in report.findings:
            print(f"  {finding}")
    print(
        f"{sum(report.executions for report in reports):,} executions, {sum(len(r.findings) for r in reports)} findings"
    )
    if asked.planted:
        return int(any(not report.findings for report in reports))
    return int(any(report.findings or not report.executions for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
