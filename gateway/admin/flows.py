"""`GET /flows`: flows as they end, in Server-Sent Events.

A stream ends after a while like every connection of this port; a reader comes back with the last event id that it saw
(`Last-Event-ID`) and misses nothing. Nothing is queued for a reader: a slow one goes on at its own pace, and is told
how many flows it missed.
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
SETTLE_SECONDS = 0.05  # events within this time are sent together
USUAL_LAST = 20

_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class FlowQuery:
    """`last`: at most so many of the flows that are in the ring already, None for all; `since`: only those that ended
    at that Unix time or later; `place`: the number of the flow to continue from instead."""

    filter: FlowFilter
    follow: bool
    last: int | None
    since: float
    place: int | None


def flow_route(ring: Ring) -> Route:
    """For at most `READERS` at once."""
    reading: set[object] = set()

    async def flows(request: Request) -> Response:
        try:
            query = _parse_query(request.query_params.multi_items(), request.headers.get("last-event-id"), ring)
        except BadFilter as bad:
            return PlainTextResponse(f"{bad}\n", 400)
        if len(reading) >= READERS:
            return PlainTextResponse(f"{READERS} streams are open already\n", 503)
        return StreamingResponse(_counted(_events(ring, query), reading), media_type="text/event-stream")

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


def _parse_query(pairs: Iterable[tuple[str, str]], event_id: str | None, ring: Ring) -> FlowQuery:
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
    return FlowQuery(
        filter=parse_filter(filters),
        follow=follow,
        last=int(last) if last else usual,
        since=time.time() - float(since) if since else 0.0,
        place=_place(event_id, ring),
    )


def _place(event_id: str | None, ring: Ring) -> int | None:
    """Where to continue; after a restart of the gateway, which the epoch shows, from the oldest flow."""
    if event_id is None:
        return None
    match = _EVENT_ID.fullmatch(event_id)
    if match is None:
        raise BadFilter("no such Last-Event-ID")
    return int(match[2]) if match[1] == ring.epoch else ring.begin


async def _events(ring: Ring, query: FlowQuery) -> AsyncGenerator[bytes, None]:
    yield b"retry: 100\n\n"
    place = ring.end if query.place is None else query.place
    if query.place is None and query.last != 0:
        async for event in _history(ring, query, place):
            yield event
    if query.follow:
        async for event in _following(ring, query.filter, place):
            yield event


async def _history(ring: Ring, query: FlowQuery, end: int) -> AsyncIterator[bytes]:
    """The flows that are in the ring, up to number `end`."""
    found: deque[bytes] = deque(maxlen=query.last)
    place = ring.begin
    while (piece := ring.read(place)) is not None and piece.first < end:
        piece = piece._replace(flows=piece.flows[: end - piece.first])  # later ones are for `_following`
        found.extend(event for came, event in _matching(ring, piece, query.filter) if came >= query.since)
        place = piece.first + len(piece.flows)
        await asyncio.sleep(0)
    while found:
        yield found.popleft()


async def _following(ring: Ring, wanted: FlowFilter, place: int) -> AsyncIterator[bytes]:
    """What comes, until the stream's time is over. It begins and ends with the id to continue from, since there may be
    no matching flow that could carry it."""
    yield _resume_id(ring, place)
    over_at = time.monotonic() + STREAM_SECONDS
    while not ring.closed and (left := over_at - time.monotonic()) > 0:
        piece = ring.read(place)
        if piece is None:
            await _more(ring, left)
            continue
        if piece.missed:
            yield b'event: missed\ndata: {"missed":%d}\n\n' % piece.missed
        place = piece.first + len(piece.flows)
        events = b"".join(event for _, event in _matching(ring, piece, wanted))
        if events:
            yield events
        await asyncio.sleep(0)
    yield _resume_id(ring, place)


def _resume_id(ring: Ring, place: int) -> bytes:
    return f"id: {ring.epoch}-{place}\n\n".encode()


async def _more(ring: Ring, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await ring.grow()
            await asyncio.sleep(SETTLE_SECONDS)
    except TimeoutError:
        return


def _matching(ring: Ring, piece: Piece, wanted: FlowFilter) -> Iterator[tuple[float, bytes]]:
    """Time and event of each; its id is the number of the next flow, where a reader that has seen it continues."""
    for number, (came, line) in enumerate(piece.flows, piece.first + 1):
        if wanted.holds(orjson.loads(line)):
            yield came, b"id: %s-%d\ndata: %s\n\n" % (ring.epoch.encode(), number, line)
