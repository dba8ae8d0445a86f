"""The block as each of its readers takes it."""

import json
import subprocess
from collections.abc import Mapping

import yaml

from gateway.migrate.workloads.exemptions import read_exemptions
from gateway.migrate.workloads.formats import FORMATS, IN_CLUSTER, block_text
from gateway.migrate.workloads.variables import ALL, Setup, block_for, read_proxy
from tests.helpers.requirements import require

BLOCK = block_for(
    [ALL], Setup(read_proxy("http://gw:3128"), read_exemptions("c.test", [], [IN_CLUSTER]), "/ca.pem", "/t.p12")
)


def by_shell(text: str) -> Mapping[str, str]:
    done = subprocess.run([require("sh"), "-c", f"{text}\nenv -0"], env={}, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def test_every_reader_gets_the_same_variables() -> None:
    said = by_shell(block_text(BLOCK, "shell"))
    assert {name: said[name] for name in BLOCK.variables} == BLOCK.variables
    lines = [line for line in block_text(BLOCK, "dotenv").splitlines() if not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == BLOCK.variables
    listed = yaml.safe_load(block_text(BLOCK, "kubernetes"))["env"]
    assert {entry["name"]: entry["value"] for entry in listed} == BLOCK.variables
    assert json.loads(block_text(BLOCK, "json")) == BLOCK.variables
    assert set(FORMATS) == {"shell", "dotenv", "kubernetes", "json"}


def test_remarks_are_comments() -> None:
    comments = [line for line in block_text(BLOCK, "shell").splitlines() if line.startswith("# ")]
    assert comments == [f"# {remark}" for remark in BLOCK.remarks]
