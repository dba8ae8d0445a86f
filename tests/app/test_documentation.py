"""docs/operations.md, docs/policy.md and docs/kubernetes.md name the keys that a running gateway does not take over."""

import re

from gateway.app.configuration import FIXED_AT_START
from tests.helpers.pages import text_of

KEYS = {".".join(path) for path in FIXED_AT_START}


def named(page: str, sentence: str) -> set[str]:
    """In backquotes between the two ends of what a pattern finds."""
    found = re.search(sentence, text_of(page), re.DOTALL)
    assert found is not None
    return set(re.findall(r"`([^`]+)`", found[1]))


def test_operations_names_them() -> None:
    assert named("docs/operations.md", r"Of `gateway\.yaml` the keys (.*?) take effect at the next start only") == KEYS


def test_the_page_on_the_settings_names_them() -> None:
    assert (
        named("docs/policy.md", r"A reload applies all keys except (.*?), which take effect at the next\s+start")
        == KEYS
    )


def test_the_page_on_the_chart_names_them() -> None:
    assert named("docs/kubernetes.md", r"What the running gateway does not take over \((.*?)\)") == KEYS
