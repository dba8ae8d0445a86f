"""The gateway's own log: messages for the operator on standard error, apart from the records of traffic."""

import logging
import time


def log_to_stderr(who: str = "") -> None:
    """Lines begin with the time as in records, UTC with milliseconds; `who` precedes every message."""
    formatter = logging.Formatter(f"%(asctime)s.%(msecs)03dZ %(levelname)s {who}%(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
