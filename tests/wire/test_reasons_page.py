"""docs/reasons.md says of every reason what the client is really told."""

import re
from pathlib import Path

import pytest

from gateway.model.reasons import Reason
from gateway.wire.replies import proxy_status_error, status_of

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"
ROW = re.compile(r"^\| `(\w+)` \|[^|]+\|[^|]+\| ([^|]+) \| ([^|]+) \|[^|]+\|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, str]]:
    return {reason: (status, error) for reason, status, error in ROW.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("reason", Reason)
def test_status_and_error_type_are_those_of_the_replies(reason: Reason) -> None:
    status, error = documented()[reason]
    assert status in {str(status_of(reason)), "after 200", "-"}
    assert error in {f"`{proxy_status_error(reason)}`", "-"}
    if status.isdigit():
        assert error != "-"
