"""The repository keeps the house rules, and each rule is shown to catch what breaks it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture import house
from tests.architecture.house import House, Rule
from tests.helpers.requirements import require

ROOT = Path(__file__).parents[2]

SOUND = {
    "gateway/__init__.py": '"""A gateway."""\n',
    "gateway/model/__init__.py": '"""What things are."""\n',
    "gateway/model/addresses.py": "from socket import AF_INET, inet_pton\n",
    "gateway/model/reasons.py": 'class Reason(StrEnum):\n    NO_RULE = "no_rule"\n',
    "gateway/policy/__init__.py": '"""Verdicts."""\n',
    "gateway/policy/decide.py": "from gateway.model.decision import Permit\n\nPermit()\n",
    "gateway/wire/__init__.py": '"""Bytes."""\n',
    "gateway/wire/replies.py": 'FORBIDDEN = 403\nLINE = b"HTTP/1.1 403 Forbidden"\n',
    "gateway/net/__init__.py": '"""Sockets."""\n',
    "gateway/net/relay.py": 'import asyncio\n\nHTTPS, MODE, FLIGHTS = 443, 0o640, 500\n"""No: HTTP/1.1 403."""\n',
    "docs/reasons.md": "| reason | meaning |\n|---|---|\n| `no_rule` | nothing allows it |\n",
    "tests/policy/test_decide.py": "x = 1  # type: ignore[misc]  # the planted fault is the subject\n",
}


@dataclass(frozen=True)
class Fault:
    """What breaks a rule: one file put into the sound tree, and what the rule then says."""

    rule: Rule
    path: str
    text: str
    finding: str


FAULTS = [
    Fault(
        house.ground_floors_have_no_clock_no_chance_and_no_io,
        "gateway/wire/head.py",
        "import asyncio.streams\n",
        "gateway/wire/head.py:1: the wire floor imports asyncio.streams",
    ),
    Fault(
        house.ground_floors_have_no_clock_no_chance_and_no_io,
        "gateway/policy/decide.py",
        "from time import monotonic\n",
        "gateway/policy/decide.py:1: the policy floor imports time",
    ),
    Fault(
        house.ground_floors_have_no_clock_no_chance_and_no_io,
        "gateway/model/addresses.py",
        "from socket import inet_pton, create_connection\n",
        "gateway/model/addresses.py:1: the model floor imports socket",
    ),
    Fault(
        house.ground_floors_have_no_clock_no_chance_and_no_io,
        "gateway/model/addresses.py",
        "import socket\n",
        "gateway/model/addresses.py:1: the model floor imports socket",
    ),
    Fault(
        house.ground_floors_have_no_clock_no_chance_and_no_io,
        "gateway/model/names.py",
        "from socket import inet_pton\n",
        "gateway/model/names.py:1: the model floor imports socket",
    ),
    Fault(
        house.only_decide_issues_permits,
        "gateway/net/dialer.py",
        "from gateway.model import decision\n\ndecision.Permit()\n",
        "gateway/net/dialer.py:3: constructs a Permit",
    ),
    Fault(
        house.only_decide_issues_permits,
        "gateway/policy/confirm.py",
        "from gateway.model.decision import Permit as P\n\nP()\n",
        "gateway/policy/confirm.py:1: Permit under another name",
    ),
    Fault(
        house.only_replies_knows_status_codes,
        "gateway/net/dialer.py",
        "def status() -> int:\n    return 502\n",
        "gateway/net/dialer.py:2: the status 502",
    ),
    Fault(
        house.only_replies_knows_status_codes,
        "gateway/net/dialer.py",
        'ESTABLISHED = b"HTTP/1.1 200 OK"\n',
        "gateway/net/dialer.py:1: the status b'HTTP/1.1 200 OK'",
    ),
    Fault(
        house.only_replies_knows_status_codes,
        "gateway/net/dialer.py",
        "from http import HTTPStatus\n",
        "gateway/net/dialer.py:1: imports HTTPStatus",
    ),
    Fault(
        house.init_modules_hold_only_a_docstring,
        "gateway/net/__init__.py",
        '"""Sockets."""\n\nfrom gateway.net.relay import HTTPS\n',
        "gateway/net/__init__.py: holds something else than one docstring",
    ),
    Fault(
        house.init_modules_hold_only_a_docstring,
        "gateway/net/__init__.py",
        "",
        "gateway/net/__init__.py: holds something else than one docstring",
    ),
    Fault(
        house.module_names_say_what_they_know,
        "gateway/net/utils.py",
        "",
        "gateway/net/utils.py: the name utils says nothing",
    ),
    Fault(
        house.module_names_say_what_they_know,
        "gateway/common/tls.py",
        "",
        "gateway/common/tls.py: the name common says nothing",
    ),
    Fault(
        house.modules_are_short,
        "gateway/net/relay.py",
        "x = 1\n" * 351,
        "gateway/net/relay.py: 351 lines, more than 350",
    ),
    Fault(
        house.functions_are_short,
        "gateway/net/relay.py",
        "async def relay():\n" + "    await x\n" * 60,
        "gateway/net/relay.py:1: relay has 61 lines, more than 60",
    ),
    Fault(
        house.tests_mirror_the_rooms,
        "tests/cellar/test_wine.py",
        "",
        "tests/cellar/test_wine.py: there is no room gateway/cellar",
    ),
    Fault(
        house.tests_mirror_the_rooms,
        "tests/test_everything.py",
        "",
        "tests/test_everything.py: there is no room gateway/",
    ),
    *(
        Fault(
            house.no_registry_is_named,
            "config/policy.yaml",
            f"rules:\n  - hosts: [files.{host}]\n",
            "config/policy.yaml:2: names a package registry's host",
        )
        for host in house.REGISTRY_HOSTS
    ),
    Fault(
        house.every_reason_is_documented,
        "gateway/model/reasons.py",
        'class Reason(StrEnum):\n    NO_RULE = "no_rule"\n    DRAINING = "draining"\n',
        "docs/reasons.md: has no row for draining",
    ),
    Fault(
        house.every_reason_is_documented,
        "docs/reasons.md",
        "| `no_rule` | x |\n| `gone` | x |\n",
        "docs/reasons.md: gone is no Reason",
    ),
    Fault(
        house.every_reason_is_documented,
        "docs/reasons.md",
        "| `no_rule` | x |\n| `no_rule` | y |\n",
        "docs/reasons.md: no_rule twice",
    ),
    Fault(
        house.suppressed_type_errors_say_why,
        "gateway/net/relay.py",
        "x = 1  # type: ignore\n",
        "gateway/net/relay.py:1: a suppressed type error without a code and a reason",
    ),
    Fault(
        house.suppressed_type_errors_say_why,
        "gateway/net/relay.py",
        "x = 1  # type: ignore[misc]\n",
        "gateway/net/relay.py:1: a suppressed type error without a code and a reason",
    ),
]


def build_house(root: Path, files: dict[str, str]) -> House:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return House(root, files)


@pytest.fixture(scope="module")
def this_house() -> House:
    """The files that are, or would be, committed."""
    command = [require("git"), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return House(ROOT, listing.stdout.splitlines())


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_this_repository_keeps_the_rule(this_house: House, rule: Rule) -> None:
    assert list(rule(this_house)) == []


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_a_sound_tree_breaks_no_rule(tmp_path: Path, rule: Rule) -> None:
    assert list(rule(build_house(tmp_path, SOUND))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.rule.__name__}-{fault.path}")
def test_a_planted_fault_is_reported(tmp_path: Path, fault: Fault) -> None:
    broken = build_house(tmp_path, SOUND | {fault.path: fault.text})
    assert list(fault.rule(broken)) == [fault.finding]


def test_a_room_of_more_than_ten_modules_is_reported(tmp_path: Path) -> None:
    crowd = {f"gateway/net/part{number}.py": "" for number in range(10)}
    broken = build_house(tmp_path, SOUND | crowd)
    assert list(house.rooms_are_small(broken)) == ["gateway/net: 11 modules, more than 10"]


def test_every_rule_has_a_planted_fault() -> None:
    assert {fault.rule for fault in FAULTS} | {house.rooms_are_small} == set(house.RULES)
