"""Buckets that processes share: as many are let through as by one, whoever of them is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import count, islice
from pathlib import Path
from random import Random

import pytest

from gateway.limits.tables import shared
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.shared import WINDOW, SharedTable, TableLocked, create_table
from gateway.limits.tables.table import TooManyKeys, put_back, take_from
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Now, Taken

RATE = Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0)
HELD = Limit("c", Counted.CONCURRENT, rate=3.0)
DAY = Limit("d", Counted.BYTES, rate=10.0, period=86400.0)


def at(seconds: float) -> Now:
    return Now(seconds, 1_800_000_000.0 + seconds)


@contextmanager
def memory(rows: int = 1024, slots: int = 4) -> Iterator[int]:
    descriptor = create_table(rows, slots)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_it_answers_as_a_table_of_one_process_does() -> None:
    random, alone = Random(7), MemoryTable()
    with memory() as descriptor:
        tables = [SharedTable(descriptor, slot, 1024, 4) for slot in range(3)]
        now = 0.0
        held: list[tuple[SharedTable, list[Draw]]] = []
        for _ in range(3000):
            now += random.expovariate(200)
            draws = [Draw(limit, (random.choice("ab"),)) for limit in random.sample((RATE, HELD, DAY), 2)]
            expected = take_from(alone, draws, at(now))
            table = random.choice(tables)
            found = take_from(table, draws, at(now))
            assert type(found) is type(expected)
            if isinstance(expected, Taken):
                assert isinstance(found, Taken)
                assert list(found.states) == list(expected.states)
                held.append((table, draws))
            if held and random.random() < 0.4:
                holder, back = held.pop(random.randrange(len(held)))
                put_back(alone, back)
                put_back(holder, back)


def test_those_that_are_asked_for_are_listed_also_if_nothing_is_held_of_them_or_others_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "LISTED", 1)
    monkeypatch.setattr("gateway.limits.tables.memory.LISTED", 1)
    asked = [("c", ("free",)), ("c", ("older",))]
    with memory() as descriptor:
        for table in (MemoryTable(), SharedTable(descriptor, 0, 1024, 4)):
            for key in ("free", "older", "latest"):
                take_from(table, [Draw(HELD, (key,))], at(0))
            put_back(table, [Draw(HELD, ("free",))])
            found = {key: max(held, 0.0) for (_, (key,)), (held, _) in table.listed(asked)}
            assert found == {"free": 0.0, "older": 1.0, "latest": 1.0}


def test_what_a_killed_process_held_is_given_back() -> None:
    with memory() as descriptor:
        mine, gone = SharedTable(descriptor, 0, 1024, 4), SharedTable(descriptor, 1, 1024, 4)
        take_from(mine, [Draw(HELD, ())], at(0))
        for _ in range(2):
            take_from(gone, [Draw(HELD, ())], at(0))
        assert isinstance(take_from(mine, [Draw(HELD, ())], at(0)), Lacking)
        mine.clear(1)
        assert [type(take_from(mine, [Draw(HELD, ())], at(0))) for _ in range(3)] == [Taken, Taken, Lacking]


def test_a_take_whose_second_bucket_makes_the_first_be_forgotten_takes_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "REMEMBERED", 8)
    with memory() as descriptor:
        table = SharedTable(descriptor, 0, 1024, 4)
        for client in range(20):
            assert isinstance(take_from(table, [Draw(RATE, ()), Draw(RATE, (str(client),))], at(0)), Taken)
        assert isinstance(take_from(table, [Draw(RATE, ()), Draw(RATE, ("one more",))], at(0)), Lacking)


def test_rows_are_used_again_once_they_say_nothing_any_more() -> None:
    with memory(rows=8) as descriptor:
        table = SharedTable(descriptor, 0, 8, 4)
        with pytest.raises(TooManyKeys):
            _take_for_ever(table, RATE, at(0))
        assert isinstance(take_from(table, [Draw(RATE, ("one more",))], at(1)), Taken)
        with pytest.raises(TooManyKeys):
            _take_for_ever(table, HELD, at(2))


def _take_for_ever(table: SharedTable, limit: Limit, now: Now) -> None:
    for key in range(10_000):
        take_from(table, [Draw(limit, (str(key),))], now)


def test_a_limit_with_keys_without_end_leaves_the_others_room() -> None:
    with memory(rows=64) as descriptor:
        table = SharedTable(descriptor, 0, 64, 4, keys=16)
        assert _keys_of(table, RATE, at(0)) == 16
        assert [_keys_of(table, limit, at(0)) for limit in (HELD, DAY)] == [16, 16]
        assert _keys_of(table, RATE, at(0.005)) == 0
        assert isinstance(take_from(table, [Draw(RATE, ("0",))], at(0.005)), Taken)  # it has one
        assert _keys_of(table, RATE, at(1)) >= 12  # those of before say nothing any more, where they can be found
        other = RATE._replace(name="other")
        assert _keys_of(table, other, at(2)) == 16  # in rows that were another limit's
        assert _keys_of(table, RATE, at(2)) >= 12


def _keys_of(table: SharedTable, limit: Limit, now: Now, client: str = "") -> int:
    """How many new keys it may have, each of another client unless one is named."""
    found = 0
    for key in range(1000):
        name = f"{now.monotonic} {client} {key}" if now.monotonic else f"{client}{key}"
        try:
            take_from(table, [Draw(limit, (name,), client=client or str(key))], now)
        except TooManyKeys:
            continue
        found += 1
    return found


def test_who_invents_keys_meets_a_bound_of_their_own_and_leaves_the_others_room() -> None:
    with memory(rows=256) as descriptor:
        mine, another = (SharedTable(descriptor, slot, 256, 4, keys=100) for slot in range(2))
        assert [_keys_of(mine, RATE, at(0), "evil"), _keys_of(another, RATE, at(0.001), "evil")] == [50, 0]
        assert _keys_of(another, RATE, at(0), "worse") == 25
        assert _keys_of(another, RATE, at(0), "other") == 13
        assert isinstance(take_from(mine, [Draw(RATE, ("mine",), client="mine")], at(0)), Taken)
        assert _keys_of(mine, HELD, at(0), "evil") == 50  # of each limit
        assert _keys_of(another, RATE, at(1), "evil") >= 50  # those of before say nothing any more


def test_what_says_nothing_any_more_is_uncounted() -> None:
    """Else who came first would keep their part for ever."""
    with memory(rows=256) as descriptor:
        table = SharedTable(descriptor, 0, 256, 4, keys=100)
        for second, client in enumerate("abcdefgh"):
            assert _keys_of(table, RATE, at(second), client) >= 45


def test_two_new_buckets_of_one_take_get_two_rows() -> None:
    with memory(rows=1) as descriptor:
        table = SharedTable(descriptor, 0, 1, 4)
        draws = [Draw(RATE._replace(burst=1.0), (key,)) for key in "abcdefgh"]
        assert isinstance(take_from(table, draws, at(0)), Taken)
        assert [type(take_from(table, [draw], at(0))) for draw in draws] == [Lacking] * 8


def test_a_holder_of_the_lock_that_is_stopped_stops_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LOCK_SECONDS", 0.05)
    with memory() as descriptor:
        code = f"import fcntl, time; fcntl.lockf({descriptor}, fcntl.LOCK_EX, 1); print(flush=True); time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code], pass_fds=[descriptor], stdout=subprocess.PIPE)
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            table = SharedTable(descriptor, 0, 1024, 4)
            with pytest.raises(TableLocked):
                take_from(table, [Draw(RATE, ())], at(0))
        finally:
            holder.kill()
            holder.communicate()
        assert isinstance(take_from(table, [Draw(RATE, ())], at(0)), Taken)


WORKER = Path(__file__).with_name("offering.py")


def test_four_processes_let_through_what_one_would_though_one_is_killed_and_replaced() -> None:
    """100/s, burst 20; 1,000 a second offered for 4 s. For as long as none of them ran, what they missed is lost."""
    with memory() as descriptor:

        def start(slot: int) -> "subprocess.Popen[str]":
            command = [sys.executable, str(WORKER), str(descriptor), str(slot), "250"]
            return subprocess.Popen(
                command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )

        def begin(worker: "subprocess.Popen[str]") -> None:
            assert worker.stdin is not None
            worker.stdin.write(f"{started} {started + 4.0}\n")
            worker.stdin.flush()

        workers = [start(slot) for slot in range(4)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        started = time.monotonic() + 0.3
        for worker in workers:
            begin(worker)
        time.sleep(max(0.0, started + 2.0 - time.monotonic()))
        workers[0].send_signal(signal.SIGKILL)
        workers.append(start(0))
        begin(workers[-1])
        told = [
            line for worker in workers for line in worker.communicate(timeout=60)[0].splitlines() if line != "ready"
        ]
    late = [float(line.removeprefix("late ")) for line in told if line.startswith("late ")]
    passed = len(told) - len(late)
    assert len(late) == 4  # the killed one could not tell
    assert passed <= 100 * 4 + 20
    assert passed >= 0.94 * 400 - 100 * min(late)


def test_nobody_can_choose_names_whose_buckets_take_the_place_of_anothers() -> None:
    """The rows of one window, 32 of a quarter of a million, are soon found by who can work out where a name falls."""
    rows, mine = 1 << 12, Draw(RATE, ("api.test",))

    def falls(draw: Draw) -> int:
        text = "\0".join((draw.limit.name, *draw.key)).encode()
        return int.from_bytes(blake2b(text, digest_size=16).digest()[:8], "big") % rows

    names = (Draw(RATE, (f"{number}.evil.test",)) for number in count())
    near = [draw for draw in islice(names, 40 * rows) if 0 <= falls(draw) - falls(mine) < WINDOW]
    assert len(near) > 20 * WINDOW
    with memory(rows) as descriptor:
        table = SharedTable(descriptor, 0, rows, 4)
        for draw in near[: 2 * WINDOW]:
            assert isinstance(take_from(table, [draw], at(1.0)), Taken)
        assert isinstance(take_from(table, [mine], at(1.0)), Taken)
