"""`learn`, `replay` and `report` as users start them: exit status, answers on standard output, files kept."""

import csv
import html
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.console import MOST_ROWS
from gateway.telemetry.formats.json import encode
from tests.cli.test_main import asked, gateway
from tests.insight.records import seen

POLICY = "version: 1\nmode: report\nrules:\n  - {name: a, hosts: [a.example]}  # keep\n"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
"""What a terminal is sent about its cursor."""
LEARNT = """\
  - name: learned-b.example
    hosts:
      - b.example
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy, and records of `a.example` and twice `b.example`."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    records = [seen("a.example"), seen("b.example"), seen("b.example", bytes_up=5)]
    lines = [encode(record) for record in records]  # type: ignore[arg-type]  # as much of records as is read
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines))
    return tmp_path


def test_learn_prints_a_diff_and_leaves_the_file_alone(folder: Path) -> None:
    ended = asked(folder, "learn", "--policy", "policy.yaml", "records.jsonl")
    assert ended.returncode == 0, ended.stderr
    assert "".join(f"+{line}\n" for line in LEARNT.splitlines()) in ended.stdout
    assert "3 attempts read, 1 allowed already" in ended.stderr
    assert (folder / "policy.yaml").read_text() == POLICY


def test_learn_writes_and_has_nothing_to_add_the_next_time(folder: Path) -> None:
    (folder / "policy.yaml").chmod(0o600)
    for _ in range(2):
        ended = asked(folder, "learn", "--policy", "policy.yaml", "-w", "records.jsonl")
        assert ended.returncode == 0, ended.stderr
    assert (folder / "policy.yaml").read_text() == POLICY + LEARNT
    assert (folder / "policy.yaml").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["policy.yaml", "records.jsonl"]


def test_learn_says_where_its_rules_are_not_enough_though_others_were_refused_there(folder: Path) -> None:
    refused = {**seen("c.example", decision="deny", dialled_address=None), "reason": "no_rule"}
    records = [seen("c.example", dialled_address="203.0.113.5"), refused]
    lines = [encode(record) for record in records]  # type: ignore[arg-type]  # as much of records as is read
    (folder / "records.jsonl").write_bytes(b"".join(lines))
    ended = asked(folder, "learn", "--policy", "policy.yaml", "records.jsonl")
    assert (
        "still refused: c.example:443: it is refused (address_refused) by policy.yaml#learned-c.example" in ended.stderr
    )
    assert "no rule for" not in ended.stderr


def test_learn_writes_where_a_link_leads(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "policy.yaml").rename(folder / "elsewhere" / "real.yaml")
    (folder / "policy.yaml").symlink_to("elsewhere/real.yaml")
    assert asked(folder, "learn", "--policy", "policy.yaml", "-w", "records.jsonl").returncode == 0
    assert (folder / "policy.yaml").is_symlink()
    assert (folder / "elsewhere" / "real.yaml").read_text() == POLICY + LEARNT


def test_learn_gives_a_directory_a_file_of_its_own_and_begins_a_policy_where_there_is_none(folder: Path) -> None:
    (folder / "policy").mkdir()
    (folder / "policy.yaml").rename(folder / "policy" / "team.yaml")
    assert asked(folder, "learn", "--policy", "policy", "-w", "records.jsonl").returncode == 0
    assert (folder / "policy" / "learned.yaml").read_text() == "version: 1\nrules:\n" + LEARNT
    assert asked(folder, "learn", "--policy", "new.yaml", "-w", "records.jsonl").returncode == 0
    assert "a.example" in (folder / "new.yaml").read_text()


def test_learn_refuses_to_touch_what_it_would_have_to_rewrite(folder: Path) -> None:
    text = "rules: [{name: a, hosts: [a.example]}]\n"
    (folder / "policy.yaml").write_text(text)
    ended = asked(folder, "learn", "--policy", "policy.yaml", "-w", "records.jsonl")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "rules: is written in one line" in ended.stderr
    assert (folder / "policy.yaml").read_text() == text


def test_learn_says_where_it_cannot_write(folder: Path) -> None:
    ended = asked(folder, "learn", "--policy", "gone/policy.yaml", "-w", "records.jsonl")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "gone/policy.yaml: cannot be written: No such file or directory"


def test_a_policy_begins_empty_in_report_mode_and_learns_from_there(folder: Path) -> None:
    (folder / "policy.yaml").write_text("version: 1\nmode: report\nrules: []\n")
    assert asked(folder, "learn", "--policy", "policy.yaml", "-w", "records.jsonl").returncode == 0
    ended = asked(folder, "replay", "--enforce", "--policy", "policy.yaml", "records.jsonl")
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "newly denied: 0")


def test_replay_names_what_breaks_and_says_so_with_its_status(folder: Path) -> None:
    ended = gateway(folder, "replay", "--policy", "policy.yaml", "records.jsonl")
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "newly denied: 0")
    ended = gateway(folder, "replay", "--enforce", "--policy", "policy.yaml", "records.jsonl")
    assert ended.returncode == 1
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert lines[0] == ["newly", "denied:", "2"]
    assert lines[2] == ["10.0.0.1", "b.example:443", "2", *["2027-01-15T08:00:00.000Z"] * 2, "no_rule"]


def test_numbers_end_below_the_end_of_their_title(folder: Path) -> None:
    title, *rows = asked(folder, "report", "records.jsonl").stdout.splitlines()
    assert title.endswith("BYTES_DOWN")
    assert rows
    assert all(len(row) == len(title) and row[-1].isdigit() for row in rows)


def test_a_table_shows_the_most_frequent_while_sums_and_json_are_whole(folder: Path) -> None:
    hosts = [f"h{number:04}.example" for number in range(MOST_ROWS + 5)]
    lines = [encode(seen(host)) for host in (*hosts, hosts[-1])]  # type: ignore[arg-type]  # as in `folder`
    (folder / "many.jsonl").write_bytes(b"".join(lines))
    replay = ("replay", "--enforce", "--policy", "policy.yaml", "many.jsonl")
    printed = asked(folder, *replay).stdout.splitlines()
    assert printed[0] == f"newly denied: {MOST_ROWS + 6}"
    assert printed[2].split()[1] == f"{hosts[-1]}:443"
    assert printed[MOST_ROWS + 2] == "... and 5 more rows: -o json prints all"
    assert len(json.loads(asked(folder, *replay, "-o", "json").stdout)["newly_denied"]) == MOST_ROWS + 5
    printed = asked(folder, "report", "--by", "destination", "many.jsonl").stdout.splitlines()
    assert printed[1].split()[:2] == [f"{hosts[-1]}:443", "2"]
    assert printed[-2].split()[:2] == ["total", str(MOST_ROWS + 6)]
    assert printed[-1] == "... and 5 more rows: -o json prints all"


def test_files_without_a_line_are_told(folder: Path) -> None:
    (folder / "empty.jsonl").touch()
    ended = asked(folder, "replay", "--policy", "policy.yaml", "empty.jsonl")
    assert (ended.returncode, ended.stderr) == (0, "no lines in empty.jsonl\n")


@pytest.mark.parametrize("output", ["table", "csv", "markdown", "json"])
def test_report_adds_up_in_every_form(folder: Path, output: str) -> None:
    ended = asked(folder, "report", "-o", output, "--by", "destination", "records.jsonl")
    assert (ended.returncode, ended.stderr) == (0, "")
    match output:
        case "json":
            rows = json.loads(ended.stdout)["rows"]
            assert [(row["destination"], row["bytes_up"]) for row in rows] == [
                ("a.example:443", 10),
                ("b.example:443", 15),
            ]
            assert json.loads(ended.stdout)["total"]["allowed"] == 3
        case "csv":
            table = list(csv.DictReader(io.StringIO(ended.stdout)))
            assert [(row["destination"], row["bytes_down"]) for row in table] == [
                ("a.example:443", "20"),
                ("b.example:443", "40"),
            ]
        case "markdown":
            assert "| b.example:443 | 2 | 0 | 0 | 0 | 15 | 40 |" in ended.stdout
        case _:
            assert ended.stdout.splitlines()[-1].split() == ["total", "3", "0", "0", "0", "25", "60"]


@pytest.mark.parametrize("output", ["table", "csv", "markdown"])
def test_a_name_cannot_steer_the_terminal(folder: Path, output: str) -> None:
    line = encode(seen("a.example", user="\x1b[2J"))  # type: ignore[arg-type]  # as much of a record as is read
    (folder / "evil.jsonl").write_bytes(line)
    ended = asked(folder, "report", "-o", output, "--by", "client", "evil.jsonl")
    assert "\x1b" not in ended.stdout
    assert "\\x1b[2J" in ended.stdout


def test_a_cell_that_a_spreadsheet_would_run_is_text(folder: Path) -> None:
    line = encode(seen("a.example", user="=1+1"))  # type: ignore[arg-type]  # as much of a record as is read
    (folder / "evil.jsonl").write_bytes(line)
    ended = asked(folder, "report", "-o", "csv", "--by", "client", "evil.jsonl")
    assert ended.stdout.splitlines()[1].startswith("'=1+1,")


MARKUP = ("![x](http://evil.test/p)", "<img src=x onerror=y>", "`a|b`", "&lt;b&gt;", "**b** ~~c~~", "a\\|b")


def test_a_cell_that_a_reader_of_markdown_would_render_is_text(folder: Path) -> None:
    records = [encode(seen("a.example", user=user)) for user in MARKUP]  # type: ignore[arg-type]  # likewise
    (folder / "evil.jsonl").write_bytes(b"".join(records))
    ended = asked(folder, "report", "-o", "markdown", "--by", "client", "evil.jsonl")
    rows = ended.stdout.splitlines()[2:-1]
    shown = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert {html.unescape(cell) for cell in shown} == set(MARKUP)
    assert not any(set(cell) & set("<>(`|*~") for cell in shown)
    assert all(row.count("|") == 8 for row in rows)


def test_names_that_look_alike_when_they_are_shown_are_added_up(folder: Path) -> None:
    records = [encode(seen("a.example", user=user)) for user in ("x\n", "x\\n")]  # type: ignore[arg-type]  # likewise
    (folder / "evil.jsonl").write_bytes(b"".join(records))
    ended = asked(folder, "report", "-o", "csv", "--by", "client", "evil.jsonl")
    assert ended.stdout.splitlines()[1:] == ["x\\n,2,0,0,0,20,40"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("learn", "missing.jsonl"), "missing.jsonl: No such file or directory"),
        (("report", "policy.yaml"), "policy.yaml: holds no records; policy.yaml:1: not a line of json, "),
        (("report", "--by", "colour", "records.jsonl"), "--by must be some of month,day,client,namespace"),
        (("report", "-o", "xml", "records.jsonl"), "-o is one of table, csv, markdown, json"),
        (("report", "--format", "w3c", "records.jsonl"), "--format is one of json, envoy, squid, text, vpc"),
        (("report", "--fields", "bytes,colour", "records.jsonl"), "'colour' is not a field of VPC flow logs"),
        (("replay", "--policy", "none.yaml", "records.jsonl"), "none.yaml"),
        (("replay", "-o", "csv", "records.jsonl"), "-o is table or json"),
        (("learn", "--group-by", "pod", "records.jsonl"), "--group-by is group, namespace, user or address"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_status_2(
    folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    ended = asked(folder, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_gets_its_cursor_back_however_reading_ends(tmp_path: Path, number: signal.Signals) -> None:
    endless = tmp_path / "records"
    os.mkfifo(endless)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "gateway", "report", str(endless)]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with endless.open("wb"):
            shown = _read_until(ours, b"reading")
            process.send_signal(number)
            process.wait(30)
            shown += _read_until(ours, None)
    os.close(ours)
    assert process.returncode == 128 + number
    assert 0 <= shown.rindex(HIDE) < shown.rfind(SHOW)


def _read_until(terminal: int, text: bytes | None) -> bytes:
    """What a terminal is sent, until this text or, for None, the end."""
    shown = b""
    while text is None or text not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # nobody has it open any more
            break
    return shown
