"""The programs of the benchmark of inspection: one that does not start says why."""

import sys

import pytest

from benchmarks.inspection.bed import free_port, running
from benchmarks.isolation import Unusable

SAYS_MUCH = """
import socket, sys, time
print("x" * 1_000_000, file=sys.stderr)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""


def test_one_that_does_not_start_is_unusable_for_what_it_said_last() -> None:
    program = "import sys; print('a lot ' * 1000); print('no such option', file=sys.stderr); sys.exit(3)"
    with pytest.raises(Unusable, match=r"a lot[\s\S]*no such option$"), running([sys.executable, "-uc", program], 1):
        pass


def test_one_that_says_much_is_not_held_up() -> None:
    port = free_port()
    with running([sys.executable, "-uc", SAYS_MUCH, str(port)], port) as pid:
        assert pid
