"""The newest flows, by number."""

import asyncio
import tracemalloc
from collections.abc import Callable
from uuid import uuid4

from gateway.telemetry.flows.ring import PIECE, Ring


def put(ring: Ring, *names: str) -> None:
    ring.put(b"".join(f'{{"id":"{name}"}}\n'.encode() for name in names))


def names(ring: Ring, place: int) -> list[str]:
    piece = ring.read(place)
    return [] if piece is None else [line.decode()[7:-2] for _, line in piece.flows]


def test_flows_are_read_from_any_number_on_in_their_order() -> None:
    ring = Ring()
    put(ring, "a", "b")
    put(ring, "c")
    assert [names(ring, place) for place in range(4)] == [["a", "b", "c"], ["b", "c"], ["c"], []]
    assert (ring.begin, ring.end) == (0, 3)


def test_the_oldest_go_and_who_comes_late_is_told_how_many() -> None:
    ring = Ring(most_flows=3)
    for pair in ("ab", "cd", "ef"):
        put(ring, *pair)
    piece = ring.read(1)
    assert piece is not None
    assert (piece.first, piece.missed) == (4, 3)
    assert names(ring, 1) == ["e", "f"]


def test_what_holds_no_flow_is_not_kept() -> None:
    """A worker that strangers took over sends what it likes."""
    ring = Ring(most_bytes=100)
    for lines in (b"", b"{", b"x" * 1000):
        ring.put(lines)
    put(ring, "a")
    assert (ring.begin, ring.end, names(ring, 0)) == (0, 1, ["a"])


def test_bytes_are_bounded_as_well() -> None:
    ring = Ring(most_bytes=100)
    for _ in range(10):
        put(ring, "x" * 30)
    assert (ring.begin, ring.end) == (8, 10)
    put(ring, "y" * 200)
    assert (ring.begin, ring.end) == (11, 11)
    assert ring.read(0) is None


def test_what_packs_well_is_bounded_by_what_its_readers_unpack() -> None:
    """Clients choose what stands in records: forty kilobytes of one letter are as many to whoever reads them."""
    ring = Ring(most_bytes=1_000_000)
    for _ in range(100):
        put(ring, "x" * 40_000)
    place, held = ring.begin, 0
    while (piece := ring.read(place)) is not None:
        held += sum(len(line) for _, line in piece.flows)
        place = piece.first + len(piece.flows)
    assert 500_000 < held <= 1_000_000


def test_a_long_way_is_read_in_pieces_of_bounded_length() -> None:
    ring = Ring()
    for number in range(50):
        put(ring, *(f"{number}-{each}" for each in range(9)))
    place, seen = 0, 0
    while (piece := ring.read(place)) is not None:
        assert piece.first == place
        assert len(piece.flows) <= PIECE
        place += len(piece.flows)
        seen += 1
    assert (place, seen) == (450, 3)


def test_each_flow_has_the_time_at_which_it_came() -> None:
    times = iter((10.0, 20.0))
    ring = Ring(now=lambda: next(times))
    put(ring, "a")
    put(ring, "b")
    piece = ring.read(0)
    assert piece is not None
    assert [came for came, _ in piece.flows] == [10.0, 20.0]


def test_what_was_packed_is_read_as_it_came() -> None:
    """Random identifiers, as records have them."""
    count, batch = 3_000, 7
    times = iter(range(count))
    ring, lines = (
        Ring(now=lambda: next(times)),
        [f'{{"id":"{uuid4()}","host":"api.example.com"}}' for _ in range(count)],
    )
    came: dict[int, float] = {}
    for number, start in enumerate(range(0, count, batch)):
        some = lines[start : start + batch]
        ring.put("".join(f"{line}\n" for line in some).encode())
        came |= dict.fromkeys(range(start, start + len(some)), number)
    found: list[tuple[float, bytes]] = []
    while (piece := ring.read(len(found))) is not None:
        assert (piece.first, piece.missed) == (len(found), 0)
        found += piece.flows
    assert [line.decode() for _, line in found] == lines
    assert {number: at for number, (at, _) in enumerate(found)} == came


def test_so_many_are_kept_in_a_tenth_of_their_bytes() -> None:
    ring, line = (
        Ring(most_flows=10_000),
        b'{"time":"2026-11-27T10:31:32.874Z","host":"api.example.com","decision":"allow"}\n',
    )
    tracemalloc.start()
    try:
        for _ in range(20_000):
            ring.put(line)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ring.end == 20_000
    assert ring.end - ring.begin > 9_000
    assert held < 10_000 * len(line) / 2  # a third of it are the newest, which are not packed yet


def test_an_unended_line_is_no_flow_and_spoils_none() -> None:
    ring = Ring()
    ring.put(b'{"id":"a"}\n{"id":')
    put(ring, "b")
    assert names(ring, 0) == ["a", "b"]


async def test_all_who_wait_are_woken_by_the_next_flow_and_by_the_end() -> None:
    ring = Ring()
    wakes: tuple[Callable[[], None], ...] = (lambda: put(ring, "a"), ring.close)
    for wake in wakes:
        waiting = [asyncio.ensure_future(ring.grow()) for _ in range(3)]
        await asyncio.sleep(0)
        wake()
        await asyncio.wait_for(asyncio.gather(*waiting), 1)
    await asyncio.wait_for(ring.grow(), 1)
