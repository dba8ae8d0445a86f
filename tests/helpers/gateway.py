"""The real gateway as a process of its own, started from files as users write them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

START_SECONDS = 60.0
RECORD_SECONDS = 30.0
_LISTENING = re.compile(r"(\w+) on (?:127\.0\.0\.1|\[::1?\]|0\.0\.0\.0):(\d+)")

Record = dict[str, Any]


class GatewayProcess:
    """`python -m gateway run` in `folder`, as a context manager: the end sends SIGTERM and waits.

    `settings` is gateway.yaml as data (ports, log and policy path are filled in), `policy` is policy.yaml as data or
    text; `environ` is set over the test's own; `prefix` goes before the command, `arguments` after it.
    """

    def __init__(
        self,
        folder: Path,
        policy: Mapping[str, Any] | str,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.policy_file = folder / "policy.yaml"
        self.log_file = folder / "records.jsonl"
        self.settings_file = folder / "gateway.yaml"
        self.write_policy(policy)
        self.write_settings(settings or {})
        self._prefix = prefix
        self._arguments = arguments
        self._terminated = False
        self._environ = {**os.environ, **(environ or {})}
        self.ports: dict[str, int] = {}
        self.stderr_lines: list[str] = []

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace gateway.yaml at one stroke; what it does not say is filled in."""
        fresh = self.settings_file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(_filled_in(settings)))
        fresh.rename(self.settings_file)

    def write_policy(self, policy: Mapping[str, Any] | str) -> None:
        """Replace the policy file at one stroke."""
        text = policy if isinstance(policy, str) else yaml.safe_dump({"version": 1, **policy})
        fresh = self.policy_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.policy_file)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "gateway", "run", "-c", str(self.settings_file), *self._arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=self._environ,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_SECONDS) or "proxy" not in self.ports:
            self.stop()
            raise AssertionError("the gateway did not start:\n" + "\n".join(self.stderr_lines))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        assert "Traceback" not in "\n".join(self.stderr_lines), "\n".join(self.stderr_lines)

    @property
    def port(self) -> int:
        """The proxy's."""
        return self.ports["proxy"]

    @property
    def url(self) -> str:
        """As it stands in HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.port}"

    def terminate(self) -> None:
        """SIGTERM, and no more."""
        self._terminated = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None and not self._terminated:
            self.terminate()
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join()
        return status

    def records(self) -> list[Record]:
        """Every record that is written by now; a line that is half written is none while it runs."""
        running = self.process.poll() is None
        written = self.log_file.read_text() if self.log_file.exists() else ""
        if running:
            written = written[: written.rfind("\n") + 1]
        return [json.loads(line) for line in written.splitlines()]

    def wait_for_records(self, count: int, **having: object) -> list[Record]:
        """The records with these values, as soon as there are `count` of them."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            found = [record for record in self.records() if all(record.get(key) == v for key, v in having.items())]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} records with {having}; all: {self.records()}")
            time.sleep(0.02)

    def wait_for_line(self, text: str) -> str:
        """The first line of standard error that holds `text`, as soon as there is one."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            for line in list(self.stderr_lines):
                if text in line:
                    return line
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} is not in:\n" + "\n".join(self.stderr_lines))
            time.sleep(0.02)

    def quiet(self) -> list[Record]:
        """All records of connections, as soon as no connection is open and each that ended has left its own."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            page = self.metrics()
            counted = {name: _sum(page, f"egress_connections_{name}") for name in ("open", "total", "accepted_total")}
            records = [record for record in self.records() if "exchange_id" not in record]
            if (*counted.values(),) == (0, len(records), len(records)):  # of `total` workers tell now and then only
                return records
            if time.monotonic() > deadline:
                raise AssertionError(f"{counted}, {len(records)} records: {records[-5:]}")
            time.sleep(0.02)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over all their labels."""
        return _sum(self.metrics(), name)

    def metrics(self) -> str:
        """The text of /metrics."""
        return self.admin("/metrics")[1]

    def admin(self, path: str, **request: Any) -> tuple[int, str]:
        """Status and body of a request to the admin port."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.ports['admin']}{path}", **request)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.stderr_lines.append(line.rstrip("\n"))
                self.ports |= {name: int(port) for name, port in _LISTENING.findall(line)}
                if "ready" in line:
                    self._ready.set()
        self._ready.set()


def _sum(metrics: str, name: str) -> float:
    lines = (line.rpartition(" ") for line in metrics.splitlines() if line.startswith(name))
    return sum(float(value) for sample, _, value in lines if sample.partition("{")[0] == name)


def _filled_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "listeners": [{"name": "proxy", "bind": "127.0.0.1:0"}],
        "policy": "policy.yaml",
        "admin": {"bind": "127.0.0.1:0"},
        "telemetry": {"access_log": [{"path": "records.jsonl", "format": "json"}]},
        "addresses": {"allow": ["127.0.0.0/8", "::1/128"]},
        **settings,
    }
