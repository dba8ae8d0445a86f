"""`GET /flows`: what has ended, as it ends, in Server-Sent Events.

A stream ends after a while like every connection of this port; a reader comes back with the `Last-Event-ID` that it
saw and misses nothing. Nothing is queued for anybody: a reader that does not read is waited for in its own time, and
when it comes round it is told how many flows it missed.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.telemetry.flows.filters import BadFilter, FlowFilter, parse_filter
from gateway.telemetry.flows.ring import Piece, Ring

PATH = "/flows"
READERS = 8
STREAM_SECONDS = 20.0
SETTLE_SECONDS = 0.05  # what comes in one moment is told at once
USUAL_LAST = 20

_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """`last`: so many of those that are there, None for all; `since`: only those that ended at that Unix time or later;
    `place`: go on there instead."""

    filter: FlowFilter
    follow: bool
    last: int | None
    since: float
    place: int | None


def flow_route(ring: Ring) -> Route:
    """For `READERS` at once."""
    reading: set[object] = set()

    async def flows(request: Request) -> Response:
        try:
            wish = _wish(request.query_params.multi_items(), request.headers.get("last-event-id"), ring)
        except BadFilter as bad:
            return PlainTextResponse(f"{bad}\n", 400)
        if len(reading) >= READERS:
            return PlainTextResponse(f"{READERS} are reading already\n", 503)
        return StreamingResponse(_counted(_events(ring, wish), reading), media_type="text/event-stream")

    return Route(PATH, flows)


async def _counted(events: AsyncGenerator[bytes, None], reading: set[object]) -> AsyncIterator[bytes]:
    reader = object()
    reading.add(reader)
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        reading.discard(reader)


def _wish(pairs: Iterable[tuple[str, str]], event_id: str | None, ring: Ring) -> Wish:
    """Raises `BadFilter`."""
    options = {"follow": "", "last": "", "since": ""}
    filters: list[tuple[str, str]] = []
    for key, value in pairs:
        if key in options:
            options[key] = value
        else:
            filters.append((key, value))
    follow, last, since = options["follow"] == "true", options["last"], options["since"]
    if last and not _NUMBER.fullmatch(last):
        raise BadFilter("last is a number of flows")
    if since and not _SECONDS.fullmatch(since):
        raise BadFilter("since is a number of seconds")
    usual = None if since else 0 if follow else USUAL_LAST
    return Wish(
        filter=parse_filter(filters),
        follow=follow,
        last=int(last) if last else usual,
        since=time.time() - float(since) if since else 0.0,
        place=_place(event_id, ring),
    )


def _place(event_id: str | None, ring: Ring) -> int | None:
    """Of another start of the gateway all that is here is new."""
    if event_id is None:
        return None
    match = _EVENT_ID.fullmatch(event_id)
    if match is None:
        raise BadFilter("no such Last-Event-ID")
    return int(match[2]) if match[1] == ring.epoch else ring.begin


async def _events(ring: Ring, wish: Wish) -> AsyncGenerator[bytes, None]:
    yield b"retry: 100\n\n"
    place = ring.end if wish.place is None else wish.place
    if wish.place is None and wish.last != 0:
        async for event in _history(ring, wish, place):
            yield event
    if wish.follow:
        async for event in _following(ring, wish.filter, place):
            yield event


async def _history(ring: Ring, wish: Wish, end: int) -> AsyncIterator[bytes]:
    """What is there, up to the number `end`."""
    found: deque[bytes] = deque(maxlen=wish.last)
    place = ring.begin
    while (piece := ring.read(place)) is not None and piece.first < end:
        piece = piece._replace(flows=piece.flows[: end - piece.first])  # what has come since is told to who follows
        found.extend(event for came, event in _matching(ring, piece, wish.filter) if came >= wish.since)
        place = piece.first + len(piece.flows)
        await asyncio.sleep(0)
    while found:
        yield found.popleft()


async def _following(ring: Ring, wanted: FlowFilter, place: int) -> AsyncIterator[bytes]:
    """What comes, until this stream has lasted long enough. The first and the last word are where to go on: a gateway
    may end before anything was wanted."""
    yield _goes_on(ring, place)
    over_at = time.monotonic() + STREAM_SECONDS
    while not ring.closed and (left := over_at - time.monotonic()) > 0:
        piece = ring.read(place)
        if piece is None:
            await _more(ring, left)
            continue
        if piece.missed:
            yield b'event: missed\ndata: {"missed":%d}\n\n' % piece.missed
        place = piece.first + len(piece.flows)
        told = b"".join(event for _, event in _matching(ring, piece, wanted))
        if told:
            yield told
        await asyncio.sleep(0)
    yield _goes_on(ring, place)


def _goes_on(ring: Ring, place: int) -> bytes:
    return f"id: {ring.epoch}-{place}\n\n".encode()


async def _more(ring: Ring, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await ring.grow()
            await asyncio.sleep(SETTLE_SECONDS)
    except TimeoutError:
        return


def _matching(ring: Ring, piece: Piece, wanted: FlowFilter) -> Iterator[tuple[float, bytes]]:
    """Each with the number of the next one: there goes on who has seen it."""
    for number, (came, line) in enumerate(piece.flows, piece.first + 1):
        if wanted.holds(orjson.loads(line)):
            yield came, b"id: %s-%d\ndata: %s\n\n" % (ring.epoch.encode(), number, line)
