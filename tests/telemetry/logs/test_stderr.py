"""A line says when, how grave, who and what."""

import subprocess
import sys

SAYS = """
import logging
from gateway.telemetry.logs.stderr import log_to_stderr
log_to_stderr("worker 1: ")
record = logging.makeLogRecord({"levelname": "WARNING", "levelno": 30, "msg": "said", "created": 0.5, "msecs": 500.0})
logging.getLogger().handle(record)
"""


def test_a_line_begins_with_the_time_as_records_have_it() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == "1970-01-01T00:00:00.500Z WARNING worker 1: said\n"
