"""A replica that asks for one connection after the other, and prints a line `INSTANT` for each that it got, and at the
end `late SECONDS`: for how long, all in all, it was kept from asking when it wanted to.

URL ON_FAILURE RATE: the rate is what it asks for in a second. It says `ready` and is then told, in a line, from which
monotonic instant until which one to ask.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from gateway.limits.replicas.link import Link
from gateway.limits.replicas.store import OnFailure, ReplicaStore
from gateway.limits.store_url import parse_store_url
from gateway.limits.tables.table import StoreUnavailable
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Taken

RATE = Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0)


async def main() -> None:
    url, on_failure, rate = sys.argv[1:]
    store = ReplicaStore(Link(parse_store_url(url), str(time.monotonic_ns())), time, OnFailure(on_failure), None)
    await store.start()
    print("ready", flush=True)
    start, end = (await asyncio.to_thread(sys.stdin.readline)).split()
    asking: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        try:
            outcome = await store.take([Draw(RATE, ())])
        except StoreUnavailable:
            return
        if isinstance(outcome, Taken):
            print(time.monotonic(), flush=True)

    due, late = max(float(start), time.monotonic()), 0.0
    while (now := time.monotonic()) < float(end):
        if now < due:
            await asyncio.sleep(due - now)
            late += time.monotonic() - due
            continue
        due += 1 / float(rate)
        task = asyncio.create_task(ask())
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    await store.close()
    print("late", late)


if __name__ == "__main__":
    asyncio.run(main())
