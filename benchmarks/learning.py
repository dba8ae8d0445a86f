"""`python -m benchmarks.learning`: learns from, replays and reports a million records; no network, no root.

Each record is a random one of two million pairs of a client and a name: three quarters of a million different attempts,
which is far more than usual. Exit status 3: one of the three commands took more than 30 s of CPU.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CLIENTS, NAMES = 5_000, 400
MOST_SECONDS = 30.0
COMMANDS = (
    ("report", "--by", "client,destination", "-o", "csv"),
    ("learn", "--policy", "policy.yaml", "-w"),
    ("replay", "--enforce", "--policy", "policy.yaml"),
)
POLICY = "version: 1\nmode: report\nrules:\n  - name: a\n    hosts: [name-7.group-7.example.com]\n"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", help="report, replay or learn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "policy.yaml").write_text(POLICY)
        write_records(directory / "records.jsonl", options.records)
        size = (directory / "records.jsonl").stat().st_size / 1e6
        print(f"{options.records} records, {size:.0f} MB")
        chosen = [command for command in COMMANDS if options.only in (None, command[0])]
        return 3 if max(_run(directory, command) for command in chosen) > MOST_SECONDS else 0


def write_records(path: Path, count: int) -> None:
    """As long as real records of tunnels, ordered by time."""
    dice = random.Random(7)
    with path.open("w") as lines:
        for number in range(count):
            lines.write(json.dumps(_record(number, dice), separators=(",", ":")) + "\n")


def _record(number: int, dice: random.Random) -> dict[str, object]:
    client, name = dice.randrange(CLIENTS), dice.randrange(NAMES)
    host = f"name-{name}.group-{name // 10}.example.com"
    return {
        "time": f"2027-01-{1 + number % 28:02d}T{number // 28 % 24:02d}:00:00.123Z",
        "connection_id": f"{dice.getrandbits(64):016x}",
        "listener": "proxy",
        "client_address": f"10.{client // 250}.0.{client % 250}",
        "client_port": 40000 + number % 20000,
        "decision": "allow",
        "generation": 1,
        "total_ms": 151.2,
        "bytes_up": 517,
        "bytes_down": 4096,
        "ended": "closed",
        "ended_by": "downstream",
        "identity": "kubernetes",
        "namespace": f"team-{client % 50}",
        "service_account": f"account-{client % 100}",
        "pod": f"pod-{client}",
        "door": "connect",
        "host": host,
        "port": 443,
        "status": 200,
        "would_deny": "no_rule",
        "dialled_address": f"93.184.{name % 7}.{name % 250}",
        "dial_ms": 12.1,
        "dns_ms": 3.2,
        "resolved": [f"93.184.{name % 7}.{name % 250}"],
        "protocol": "tls",
        "sni": host,
        "alpn": ["h2", "http/1.1"],
        "ja4": "t13d1516h2_8daaf6152771_b186095e22b6",
        "ech": False,
        "first_byte_ms": 20.0,
    }


def _run(directory: Path, command: Sequence[str]) -> float:
    """Seconds of CPU."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    child = [sys.executable, "-c", _MEASURED, *command, "records.jsonl"]
    ended = subprocess.run(child, cwd=directory, capture_output=True, text=True, check=False)
    after, elapsed = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    if ended.returncode not in (0, 1):
        raise SystemExit(ended.stderr)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(ended.stderr.rpartition("peak ")[2]) / 1024
    print(f"{' '.join(command):50} {seconds:6.1f} s CPU, {elapsed:6.1f} s, {peak:.0f} MiB at most", flush=True)
    return seconds


_MEASURED = """
import atexit, resource, sys
atexit.register(lambda: print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
from gateway.cli.main import app
app()
"""


if __name__ == "__main__":
    sys.exit(main())
