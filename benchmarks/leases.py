"""What limits cost: the CPU of taking a lease and giving it back, `python -m benchmarks.leases`.

Each lease has two limits (connections by client, and concurrent), counted in memory, in the table that workers share
and, with `--redis URL`, drawn ahead from Redis.
"""

import argparse
import time
from collections.abc import Sequence

import uvloop

from gateway.limits.limiter import BucketLimiter
from gateway.limits.replicas.link import Link
from gateway.limits.replicas.store import OnFailure, ReplicaStore
from gateway.limits.store import Store, TableStore
from gateway.limits.store_url import parse_store_url
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.shared import SharedTable, create_table
from gateway.limits.tally import Tally
from gateway.model.addresses import Address
from gateway.model.authority import parse_authority
from gateway.model.client import Client
from gateway.model.decision import Permit, RuleRef, Terms
from gateway.model.intent import Door, Intent
from gateway.model.limits.limit import TUNNEL, Counted, KeyPart, Limit
from gateway.policy.decide import decide
from gateway.policy.index import build_rules
from gateway.policy.rules import HostPattern, Policy, Reach, Rule

RATE = Limit("r.connections", Counted.CONNECTIONS, rate=1e6, burst=1e6, key=(KeyPart.CLIENT,))
HELD = Limit("r.concurrent", Counted.CONCURRENT, rate=1e6)
OTHER = Limit("r.connections.2", Counted.CONNECTIONS, rate=1e6, burst=1e6)
CLIENT = Client(Address(4, 0x0A000001))


def permit_under(*limits: Limit) -> Permit:
    """For one name, under these limits."""
    authority = parse_authority("api.example.com:443", 443)
    hosts = (HostPattern("api.example.com", Reach.EXACT),)
    rules = build_rules(Policy((Rule(RuleRef("p#r", "p", 1), Terms(limits=limits), hosts=hosts),)), 1)
    decision = decide(CLIENT, Intent(Door.CONNECT, authority), rules, 0.0) if authority is not None else None
    if not isinstance(decision, Permit):
        raise TypeError("the rule does not permit it")
    return decision


async def cost(store: Store, permit: Permit, leases: int, rounds: int) -> float:
    """Microseconds of this process's CPU per lease, the minimum of all rounds."""
    limiter, best = BucketLimiter(store, Tally()), float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(leases):
            async with limiter.lease(permit, CLIENT, TUNNEL):
                pass
        best = min(best, (time.process_time() - begin) / leases * 1e6)
    return best


async def measure(redis: str | None, leases: int, rounds: int) -> Sequence[tuple[str, float]]:
    """Each way with its cost; `none` is a lease that no limit bounds."""
    limited, ahead = permit_under(RATE, HELD), permit_under(RATE, OTHER)
    memory = TableStore(MemoryTable(), time)
    shared = TableStore(SharedTable(create_table(), 0), time)
    rows = [
        ("none", await cost(memory, permit_under(), leases, rounds)),
        ("memory", await cost(memory, limited, leases, rounds)),
        ("shared by workers", await cost(shared, limited, leases, rounds)),
    ]
    if redis is not None:
        store = ReplicaStore(Link(parse_store_url(redis), "benchmark"), time, OnFailure.DENY, None)
        await store.start()
        rows.append(("redis, drawn ahead", await cost(store, ahead, leases, rounds)))
        await store.close()
    return rows


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.leases", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--redis", metavar="URL", help="measure leases in advance as well")
    parser.add_argument("--leases", type=int, default=500, help="in a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=400, help="of which the cheapest counts (%(default)s)")
    options = parser.parse_args()
    for name, microseconds in uvloop.run(measure(options.redis, options.leases, options.rounds)):
        print(f"{name:20} {microseconds:6.1f} us")


if __name__ == "__main__":
    main()
