"""Limits over three replicas and one real Redis: bounded together, whatever becomes of it."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.helpers.redis_server import RedisServer

REPLICA = Path(__file__).with_name("replica.py")
RATE, BURST, LEASE, STALL = 100, 20, 5, 10
RETURN = 2 / 3 * RATE * 2.0
"""Two replicas have found Redis again and share the whole rate, while one still goes by its own third (or the other way
round): for two seconds, or less where the machine is not busy."""

Event = tuple[float, Callable[[], None]]


def offer(url: str, on_failure: str, seconds: float, *events: Event) -> list[float]:
    """Three replicas ask for 1,000 connections a second together: the instants of those that passed, from the first
    moment on. `events` are what happens to Redis, and when."""
    replicas = [
        subprocess.Popen(
            [sys.executable, str(REPLICA), url, on_failure, "333"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for replica in replicas:
        assert replica.stdout is not None
        assert replica.stdout.readline() == "ready\n"
    start = time.monotonic() + 0.3
    for replica in replicas:
        assert replica.stdin is not None
        replica.stdin.write(f"{start} {start + seconds}\n")
        replica.stdin.flush()
    for at, happen in events:
        time.sleep(max(0.0, start + at - time.monotonic()))
        happen()
    lines = [line for replica in replicas for line in replica.communicate(timeout=60)[0].splitlines()]
    return sorted(float(line) - start for line in lines)


def most(passed: Sequence[float], begin: float, end: float) -> int:
    return sum(begin <= instant < end for instant in passed)


def check_bound(passed: Sequence[float], slack: float = 0.0) -> None:
    """In no window more than rate x W + burst, and `STALL` as many: who asked learns of it when it gets to run."""
    windows = ((first, last) for first in range(len(passed)) for last in range(first, len(passed), 7))
    excess, begin, end = max(
        (last - first + 1 - RATE * (passed[last] - passed[first]) - BURST, passed[first], passed[last])
        for first, last in windows
    )
    assert excess <= STALL + slack, f"{excess:.1f} too many from {begin:.2f} s to {end:.2f} s"


def test_three_replicas_let_through_what_one_would(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "local", 3.0)
    check_bound(passed)
    assert len(passed) >= 0.96 * RATE * 3
    assert len(passed) <= RATE * passed[-1] + BURST + STALL


def test_while_redis_is_dead_each_keeps_its_share_and_then_they_share_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "local", 6.0, (1.0, redis.kill), (2.5, redis.start))
    check_bound([instant for instant in passed if instant < 2.5], slack=3 * LEASE)
    check_bound(passed, slack=3 * LEASE + RETURN)
    assert most(passed, 1.3, 2.5) >= 0.7 * RATE * 1.2
    assert most(passed, 4.5, 6.0) >= 0.8 * RATE * 1.5


def test_deny_lets_nobody_through_while_redis_is_dead(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "deny", 6.0, (0.8, redis.kill), (1.6, redis.start))
    check_bound(passed)
    assert most(passed, 1.0, 1.6) == 0
    assert most(passed, 4.5, 6.0) > 0.6 * RATE * 1.5


def test_allow_counts_nothing_while_redis_is_dead(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "allow", 6.0, (0.6, redis.kill), (1.2, redis.start))
    assert most(passed, 0.8, 1.2) > 1.5 * RATE
    assert most(passed, 5.0, 6.0) <= RATE + BURST


def test_a_redis_that_is_stopped_holds_nobody_up_for_long(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "local", 5.0, (0.8, redis.stop), (2.5, redis.go_on))
    check_bound([instant for instant in passed if instant < 2.5], slack=3 * LEASE)
    check_bound(passed, slack=3 * LEASE + RETURN)
    assert most(passed, 1.6, 2.5) >= 0.6 * RATE * 0.9
    assert most(passed, 4.0, 5.0) >= 0.8 * RATE


def test_a_redis_that_comes_back_empty_adds_no_more_than_two_bursts_each_time(tmp_path: Path) -> None:
    """One of the shares that each goes by meanwhile, one because the store has forgotten."""

    def restart() -> None:
        redis.kill()
        redis.start()

    with RedisServer(tmp_path) as redis:
        passed = offer(redis.url, "local", 3.0, (0.8, restart), (1.6, restart))
    check_bound(passed, slack=3 * LEASE + 2 * 2 * BURST + RETURN)
