"""The gateway's own log: what an operator is told on standard error, beside the records of traffic."""

import logging
import time


def tell_on_stderr(who: str = "") -> None:
    """Each line begins with the time as records have it, UTC with milliseconds; `who` stands before what is said."""
    formatter = logging.Formatter(f"%(asctime)s.%(msecs)03dZ %(levelname)s {who}%(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
