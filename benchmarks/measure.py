"""What a proxy costs, read from /proc over its whole process tree."""

import time

import psutil

SETTLE_INTERVAL = 0.15
SETTLE_LIMIT = 5.0


def process_tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree so far, children that have ended included. The kernel counts in 10 ms."""
    return sum(sum(process.cpu_times()[:4]) for process in process_tree(pid))


def settled_cpu_seconds(pid: int) -> float:
    """The same, once it no longer grows: closing what the load opened is part of its price."""
    deadline = time.monotonic() + SETTLE_LIMIT
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(SETTLE_INTERVAL)
        now = cpu_seconds(pid)
        if now - before < 0.015:  # one tick may be the proxy's own timers
            return now
        before = now
    return before


def proportional_bytes(pid: int) -> int:
    """PSS of the tree: private memory plus each process's share of what is shared."""
    return sum(process.memory_full_info().pss for process in process_tree(pid))


def resident_bytes(pid: int) -> int:
    """RSS of the tree."""
    return sum(process.memory_info().rss for process in process_tree(pid))
