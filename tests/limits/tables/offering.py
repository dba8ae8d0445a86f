"""A process that asks a shared table for one connection after the other, and prints the instant of each that it got,
and at the end `late SECONDS`: for how long, all in all, it was kept from asking when it wanted to.

DESCRIPTOR SLOT RATE: the rate is what it asks for in a second. It says `ready` and is then told, in a line, from which
monotonic instant until which one to ask.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from gateway.limits.tables.shared import SharedTable
from gateway.limits.tables.table import take_from
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Now, Taken

RATE = Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0)


def main() -> None:
    descriptor, slot, rate = sys.argv[1:]
    table = SharedTable(int(descriptor), int(slot), 1024, 4)
    print("ready", flush=True)
    start, end = sys.stdin.readline().split()
    due, late = max(float(start), time.monotonic()), 0.0
    while (now := time.monotonic()) < float(end):
        if now < due:
            time.sleep(due - now)
            late += time.monotonic() - due
            continue
        due += 1 / float(rate)
        if isinstance(take_from(table, [Draw(RATE, ())], Now(now, time.time())), Taken):
            print(now, flush=True)
    print("late", late)


if __name__ == "__main__":
    main()
