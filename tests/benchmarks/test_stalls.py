"""What the machine kept from everybody, told apart from what a program kept."""

import time

import psutil
import pytest

from benchmarks.stalls import TICK, Machine, Span, beyond, united


def test_stalls_of_two_cpus_that_overlap_are_one() -> None:
    assert united([Span(5, 6), Span(1, 3), Span(2, 4), Span(4, 4.5)]) == [Span(1, 4.5), Span(5, 6)]


def test_a_gap_is_ours_where_no_stall_covers_it() -> None:
    stalls = [Span(0, 2), Span(3, 4), Span(9, 12)]
    assert beyond(Span(1, 10), stalls) == pytest.approx(9 - 1 - 1 - 1)
    assert beyond(Span(9.5, 11), stalls) == 0
    assert beyond(Span(5, 8), stalls) == 3


def test_the_watchers_tell_a_stall_since_they_were_asked_before() -> None:
    stalled = 0.03
    with Machine.watched() as machine:
        machine.stalls()
        begin = time.monotonic()
        watchers = [child for child in psutil.Process().children() if "benchmarks.stalls" in child.cmdline()]
        for watcher in watchers:
            watcher.suspend()  # as if the host had taken its CPU
        time.sleep(stalled)
        for watcher in watchers:
            watcher.resume()
        told = machine.stalls()
        end = time.monotonic()
    longest = max(told, key=lambda stall: stall.length)
    assert stalled - 2 * TICK <= longest.length <= end - begin
    assert begin <= longest.begin < longest.end <= end
