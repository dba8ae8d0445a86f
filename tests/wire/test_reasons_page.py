"""docs/reasons.md and docs/troubleshooting.md say what the client is really told."""

import re
from pathlib import Path

import pytest

from gateway.model.errors import GatewayError
from gateway.model.reasons import Reason
from gateway.wire.replies import reply, status_of

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"
ROW = re.compile(r"^\| `(\w+)` \|[^|]+\|[^|]+\| ([^|]+) \| ([^|]+) \|[^|]+\|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, str]]:
    return {reason: (status, error) for reason, status, error in ROW.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("reason", Reason)
def test_status_and_error_type_are_those_of_the_replies(reason: Reason) -> None:
    status, error = documented()[reason]
    told = re.search(
        r"^Proxy-Status: gw(?:; error=(\w+))?", reply(GatewayError(reason), None, "gw", "0").decode(), re.MULTILINE
    )
    assert status in {str(status_of(reason)), "after 200", "-"}
    assert told is not None
    assert error in {f"`{told[1]}`", "-"}
    if status.isdigit():
        assert error != "-"


def test_whose_side_it_is_is_one_of_those_that_the_page_explains() -> None:
    text = PAGE.read_text(encoding="utf-8")
    explained = set(re.findall(r"\*(\w+)\* \(", text.partition("\n|")[0]))
    assert set(re.findall(r"^\| `\w+` \| (\w+) \|", text, re.MULTILINE)) == explained


def test_troubleshooting_has_statuses_and_phrases_as_they_are_told() -> None:
    page = PAGE.with_name("troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| `([^`]+)` \| `(\w+)` \|", page, re.MULTILINE)
    told = {reason: reply(GatewayError(reason), None, "gw", "0").decode().partition("\r\n")[0] for reason in Reason}
    assert len(rows) > 25
    assert [row for row in rows if f"HTTP/1.1 {row[0]} {row[1]}" != told[Reason(row[2])]] == []
