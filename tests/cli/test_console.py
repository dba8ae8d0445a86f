"""What commands print."""

import sys
import tracemalloc

import pytest

from gateway.cli.console import show_json


class _Nobody:
    def __init__(self) -> None:
        self.length = 0

    def write(self, text: str) -> int:
        self.length += len(text)
        return len(text)

    def flush(self) -> None:
        pass


def test_json_is_written_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"client": "10.0.0.1", "count": 1}] * 20_000
    nobody = _Nobody()
    monkeypatch.setattr(sys, "stdout", nobody)
    tracemalloc.start()
    try:
        show_json(rows)
        assert tracemalloc.get_traced_memory()[1] < nobody.length
    finally:
        tracemalloc.stop()
