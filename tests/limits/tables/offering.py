"""A process that asks a shared table for one connection after the other, and prints the instant of each that it got.

DESCRIPTOR SLOT FROM UNTIL RATE: instants are monotonic, the rate is what it asks for in a second.
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
    descriptor, slot, start, end, rate = sys.argv[1:]
    table = SharedTable(int(descriptor), int(slot), 1024, 4)
    due = max(float(start), time.monotonic())
    while (now := time.monotonic()) < float(end):
        if now < due:
            time.sleep(due - now)
            continue
        due += 1 / float(rate)
        if isinstance(take_from(table, [Draw(RATE, ())], Now(now, time.time())), Taken):
            print(now, flush=True)


if __name__ == "__main__":
    main()
