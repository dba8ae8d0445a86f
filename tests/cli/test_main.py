"""The program as users start it: exit status, one line for an error, no colour where nobody asked for it."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import TextIO

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.helpers.ports import free_port
from tests.helpers.requirements import require
from tests.settings.texts import write

ROOT = Path(__file__).parents[2]


def gateway(
    directory: Path, *arguments: str, stdin: TextIO | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """`python -m gateway` with these arguments, started in `directory`."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def asked(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in the test's own process, where nothing is asked of the process itself: it costs a hundredth."""
    with chdir(directory):
        done = CliRunner().invoke(app, arguments, prog_name="egress-gateway", catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "command",
    [
        *(
            (),
            ("run",),
            ("check",),
            ("explain",),
            ("schema",),
            ("ca",),
            ("ca", "init"),
            ("ca", "show"),
            ("ca", "rotate"),
        ),
        *(("routes",), ("routes", "apply")),
        *(("tunnels",), ("observe",), ("limits",), ("learn",), ("replay",), ("report",)),
        *(("import",), ("env",), ("network-policy",)),
    ],
)
def test_every_command_has_a_help(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = asked(tmp_path, *command, "--help")
    assert ended.returncode == 0
    assert "Usage: egress-gateway" in ended.stdout


def test_help_begins_with_what_is_needed_first_and_cuts_no_line(tmp_path: Path) -> None:
    listed = asked(tmp_path, "--help").stdout.partition("Commands:\n")[2]
    assert [line.split()[0] for line in listed.splitlines()[:6]] == [
        *("run", "check", "explain"),
        *("tunnels", "observe", "limits"),
    ]
    for group in ((), ("ca",), ("routes",)):
        assert "..." not in asked(tmp_path, *group, "--help").stdout.partition("Commands:\n")[2]


@pytest.mark.parametrize("command", [("schema", "gateway"), ("check",), ("replay", "-"), ("report", "-o", "csv", "-")])
def test_nothing_is_said_when_nobody_reads_on(tmp_path: Path, command: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2  # 1 would be a finding
    assert not re.search("Traceback|Broken|Exception", ended.stderr)


@pytest.mark.parametrize("command", [("report", "-"), ("report", "-o", "json", "-"), ("replay", "-"), ("check",)])
def test_a_stream_that_the_caller_closed_is_an_empty_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    script = 'exec "$@" <&- >&- 2>&-'
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-m", "gateway", *command],
        cwd=tmp_path,
        env=environ,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0


def test_what_is_opened_never_takes_the_number_of_a_stream_that_the_caller_closed(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.argv = ['x', '--version']\n"
        "from gateway.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(os.open('/', os.O_RDONLY), [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1)], file=sys.stderr)"
    )
    script = 'exec "$@" <&- >&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == "3 ['/dev/null', '/dev/null']\n"


@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("check", "policy.yaml"),
        ("check", "x" * 256),
        ("explain", "a.example"),
        ("run", "--listen", "127.0.0.1:0"),
        ("tunnels",),
        ("learn", "--policy", "policy.yaml", "/dev/null"),
        ("ca", "init"),
    ],
)
def test_where_nothing_may_be_looked_up_that_is_said_in_a_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    capabilities = "cap_dac_override,cap_dac_read_search"
    run = 'exec "$0" "$@"'
    powerless = [require("capsh"), f"--drop={capabilities}", "--", "-c", run] if os.geteuid() == 0 else []
    ended = subprocess.run(
        ["/bin/sh", "-c", f"chmod 000 . && {run}", *powerless, sys.executable, "-P", "-m", "gateway", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    tmp_path.chmod(0o700)
    assert ended.returncode == (1 if command[0] == "check" else 2)
    assert re.fullmatch(r"[^\n]+ cannot be (read|written): (Permission denied|File name too long)\n", ended.stderr)


@pytest.mark.parametrize(
    "command",
    [("observe", "--to-fqdn", b"\xff"), ("tunnels", "close", b"\xff"), ("ca", "init", "--name", b"\xff")],
)
def test_an_argument_that_is_not_text_is_an_argument(tmp_path: Path, command: tuple[str | bytes, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EGRESS__ADMIN__BIND": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("--help",), ("schema", "gateway"), ("check",), ("report", "-o", "csv", "-")])
def test_a_full_disk_is_a_line_and_no_finding(tmp_path: Path, command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "standard output: No space left on device"
    assert not re.search("Traceback|Exception", ended.stderr)


def test_letters_that_an_output_does_not_have_are_escaped(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", "rules:\n  - {name: ü, hosts: [münchen.example]}\n")
    ended = gateway(tmp_path, "check", "policy.yaml", "ö.yaml", PYTHONIOENCODING="ascii")
    assert ended.returncode == 1
    assert "m\\xfcnchen.example is xn--" in ended.stdout
    assert "\\xf6.yaml: 1 problem" in ended.stdout


def test_ctrl_c_ends_a_command_without_a_word_even_while_it_is_loaded(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pydantic': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts()); sys.argv = ['x', 'check']\n"
        "from gateway.cli.main import main\n"
        "main()"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_help_does_not_load_what_the_commands_need(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from gateway.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('pydantic', 'uvloop', 'yaml', 'idna', 'cryptography') if name in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_version_is_told(tmp_path: Path) -> None:
    assert gateway(tmp_path, "--version").stdout.startswith("egress-gateway ")


def test_check_ends_with_0_or_1(tmp_path: Path) -> None:
    write(tmp_path, "good.yaml", "rules: [{name: a, hosts: [x.example]}]")
    write(tmp_path, "bad.yaml", "rules: [{name: a}]")
    assert asked(tmp_path, "check", "good.yaml").returncode == 0
    ended = gateway(tmp_path, "check", "good.yaml", "bad.yaml")
    assert (ended.returncode, ended.stderr) == (1, "bad.yaml:1: rules[0]: needs hosts or cidrs\n")


def test_explain_ends_with_0_1_or_2(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", "rules: [{name: a, hosts: [x.example]}]")
    assert asked(tmp_path, "explain", "https://x.example").returncode == 0
    assert gateway(tmp_path, "explain", "https://y.example").returncode == 1
    ended = gateway(tmp_path, "explain", "ftp://x.example")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    ended = asked(tmp_path, "explain", "--policy", "gone.yaml", "x.example")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_explain_live_ends_with_2_where_nothing_is_reached(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", "rules: [{name: a, cidrs: [127.0.0.1/32], ports: [any]}]")
    port = free_port()
    ended = gateway(tmp_path, "explain", "--live", f"127.0.0.1:{port}")
    assert ended.returncode == 2
    assert ended.stderr == f"127.0.0.1:{port} is allowed, but could not be reached: connection_refused\n"
    assert "Traceback" not in ended.stdout


def test_run_ends_with_2_and_a_line_when_a_file_cannot_be_taken(tmp_path: Path) -> None:
    write(tmp_path, "gateway.yaml", "timeouts:\n  idle: 5\n")
    ended = gateway(tmp_path, "run")
    assert ended.returncode == 2
    assert ended.stderr == "gateway.yaml:2: timeouts.idle: 5 is not a duration such as 500ms, 2s, 5m, 1h or 7d\n"


def test_a_start_is_refused_for_what_every_worker_would_refuse_of_the_environment(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", "rules: []")
    listening = 'listeners: [{bind: "127.0.0.1:0"}]\nadmin: {bind: "127.0.0.1:0"}'
    write(tmp_path, "gateway.yaml", f"{listening}\npolicy: policy.yaml\nworkers: 2\ntelemetry: {{otlp: {{}}}}")
    ended = gateway(tmp_path, "run", OTEL_EXPORTER_OTLP_TIMEOUT="0")
    told = "OTEL_EXPORTER_OTLP_TIMEOUT: 0 is no time: use seconds, more than 0 and up to 86400"
    assert (ended.returncode, ended.stderr.splitlines()) == (2, [told])


def test_run_takes_listen_and_workers_before_the_file(tmp_path: Path) -> None:
    write(tmp_path, "gateway.yaml", "listeners: []\nworkers: 1")
    ended = gateway(tmp_path, "run", "--listen", "192.0.2.77:1", "--workers", "none")
    assert (ended.returncode, ended.stderr.splitlines()) == (
        2,
        ["--workers: must be a whole number from 1, or auto, not 'none'"],
    )
    ended = gateway(tmp_path, "run", "--listen", "localhost")
    assert ended.returncode == 2
    assert ended.stderr.startswith('--listen: "localhost" is not an address and port such as')


@pytest.mark.parametrize("kind", ["gateway", "policy"])
def test_a_schema_is_json(tmp_path: Path, kind: str) -> None:
    ended = asked(tmp_path, "schema", kind)
    assert json.loads(ended.stdout)["type"] == ["object", "null"]


def test_there_is_no_other_schema(tmp_path: Path) -> None:
    ended = asked(tmp_path, "schema", "rules")
    assert (ended.returncode, ended.stderr) == (2, "there is a schema of gateway and of policy, not of 'rules'\n")


def test_colour_is_for_terminals_that_want_it(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", "rules: [{name: a}]")
    assert "\x1b" not in gateway(tmp_path, "check", "policy.yaml").stderr
    coloured = gateway(tmp_path, "check", "policy.yaml", FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[31m" in coloured.stderr
    plain = gateway(tmp_path, "check", "policy.yaml", FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert "\x1b[31m" not in plain.stderr
