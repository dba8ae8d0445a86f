"""Kinds of inspectors for stories, as another distribution would bring them: some that do harm."""

import re
from pathlib import Path

from tests.helpers.distribution import install

DOCUMENT = Path(__file__).parents[2] / "docs" / "inspectors.md"

HARMFUL = r'''
import os
import time

from gateway.intercept.inspectors import ALLOW, Answer, Inspector, annotate


class Slow(type):
    @property
    def __name__(cls):
        time.sleep(60)


class SlowToTell(Exception, metaclass=Slow):
    pass


class Harmful(Inspector):
    """Does what the request's X-Harm says."""

    def __init__(self):
        self.harm = ""
        self.seen = b""

    def request_head(self, head):
        self.harm = "".join(head.values("x-harm"))
        if self.harm == "sleep":
            time.sleep(60)
        if self.harm == "nap":
            time.sleep(0.3)
        if self.harm == "slow-failure":
            raise SlowToTell
        while self.harm == "spin":  # and catches whatever would end that
            try:
                time.sleep(60)
            except BaseException:
                pass
        return "yes" if self.harm == "nonsense" else annotate("harm", "none")

    def request_chunk(self, data):
        if self.harm == "raise":
            raise ValueError(f"cannot stand {data!r}")
        if self.harm == "ponder":
            time.sleep(1)
        if self.harm.startswith("dawdle"):
            time.sleep(0.3 if "deny" in self.harm else 60)
            return Answer(denial="late")
        if self.harm == "wordy":
            return Answer("w" * 199 + "\udcff" + "x" * 200_000, (("k" * 99, "v" * 99_000),) * 99)
        return ALLOW

    def response_head(self, head):
        if self.harm == "die":
            os._exit(3)
        if self.harm == "no-switch" and head.status == 101:
            return Answer(denial="".join(head.values("x-kind")))
        return ALLOW

    def response_chunk(self, data):
        if self.harm == "ponder":
            time.sleep(1)
        self.seen += data
        return Answer(denial="a word") if b"forbidden" in self.seen else ALLOW


def build(options):
    time.sleep(options.get("start", 0))
    return Harmful
'''


def install_kinds(folder: Path) -> Path:
    """The harmful ones, and the example of the documentation as it stands there."""
    text = DOCUMENT.read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [entry_points] = re.findall(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", text, re.DOTALL)
    group, lines = entry_points
    written = re.sub(r'"', "", lines)
    return install(
        folder, "kinds", {"drafts": example, "harmful": HARMFUL}, f"[{group}]\n{written}harmful = harmful:build\n"
    )
