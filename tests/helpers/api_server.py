"""The API server of a cluster as far as its protocol of list and watch goes, in a thread of its own.

As the real one: every change has a `resourceVersion`; lists come in pages of one consistent state; a watch goes on from
a version, sends bookmarks, ends after `timeoutSeconds`, and is told 410 (`Expired`) when that version is forgotten;
an object that leaves a field selection is DELETED for who watches it; nobody is served without the bearer token.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.helpers.ports import held_port, port_of

T = TypeVar("T")
Object = dict[str, Any]

KINDS = {"pods": ("Pod", "v1"), "namespaces": ("Namespace", "v1")}


@dataclass(frozen=True)
class Event:
    version: int
    kind: str
    before: Object | None
    after: Object | None


def pod(
    name: str,
    *addresses: str,
    namespace: str = "payments",
    account: str = "api",
    uid: str | None = None,
    labels: Mapping[str, str] | None = None,
    owner: tuple[str, str] | None = None,
    phase: str = "Running",
    started: str | None = "2027-01-15T08:00:00Z",
    leaving: bool = False,
    on_host: bool = False,
    padding: int = 0,
) -> Object:
    """As the API writes one. `padding` bytes stand for what nobody here needs."""
    metadata: Object = {"name": name, "namespace": namespace, "uid": uid or f"uid-{namespace}-{name}"}
    metadata["labels"] = dict(labels or {})
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True, "uid": "o"}]
    if leaving:
        metadata["deletionTimestamp"] = "2027-01-15T09:00:00Z"
    spec: Object = {"serviceAccountName": account, "containers": [{"name": "main", "image": "x" * padding}]}
    if on_host:
        spec["hostNetwork"] = True
    status: Object = {"phase": phase}
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    if started is not None:
        status["startTime"] = started
    return {"metadata": metadata, "spec": spec, "status": status}


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": labels}}


class ApiServer:
    """A context manager. Counts what it was asked: `lists` are whole ones. A watch that begins while there is something
    `instead_of_events` gets that and ends."""

    def __init__(self, *, token: str = "gateway-token", context: ssl.SSLContext | None = None) -> None:
        self.token = token
        self.audiences = ["egress-gateway"]
        self.reviews: list[str] = []
        self.accounts: dict[str, Object] = {}
        self.jwks: bytes = b'{"keys": []}'
        self.jwks_fetched = 0
        self.lists = 0
        self.watches = 0
        self.watching = 0
        self.bookmark_seconds = 60.0
        self.instead_of_events: bytes | None = None
        self.asked = threading.Condition()
        self._context = context
        self._version = 100
        self._oldest = 100
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._history: list[Event] = []
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._news: set[asyncio.Event] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._held = held_port()
        self.port = port_of(self._held)
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._held.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ------------------------------------------------------------------------------------------------ what a test does

    def up(self) -> None:
        """Serve, on the same port as before."""
        self._run(self._up())

    def down(self) -> None:
        """Neither listen nor answer any more."""
        self._run(self._down())

    def put(self, kind: str, *objects: Object) -> None:
        """Create or change."""

        async def change() -> None:
            for each in objects:
                key = _key(each)
                self._note(kind, self._objects[kind].get(key), json.loads(json.dumps(each)))

        self._run(change())

    def delete(self, kind: str, *objects: Object) -> None:
        async def change() -> None:
            for each in objects:
                self._note(kind, self._objects[kind].get(_key(each)), None)

        self._run(change())

    def drop_watches(self) -> None:
        """Cut every watch off in the middle of its answer."""

        async def drop() -> None:
            streams = list(self._streams)
            for stream in streams:
                stream.cancel()
            while self._streams & set(streams):  # noqa: ASYNC110  # each ends in its own way
                await asyncio.sleep(0.001)

        self._run(drop())

    def forget(self) -> None:
        """Everything before now: whoever wants to go on from there is told 410."""

        async def forget() -> None:
            self._version += 1
            self._oldest = self._version
            self._history.clear()
            self._pages.clear()

        self._run(forget())

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Until what it was asked makes the condition true."""
        with self.asked:
            assert self.asked.wait_for(condition, seconds), (self.lists, self.watches, self.watching)

    # ------------------------------------------------------------------------------------------------------ the server

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _up(self) -> None:
        application = web.Application(middlewares=[self._admit], client_max_size=1 << 20)
        application.router.add_get("/api/v1/{kind:pods|namespaces}", self._serve)
        application.router.add_get("/openid/v1/jwks", self._keys)
        application.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True)
        await site.start()

    async def _down(self) -> None:
        for stream in list(self._streams):
            stream.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _note(self, kind: str, before: Object | None, after: Object | None) -> None:
        if before is None and after is None:
            return
        self._version += 1
        key = _key(after or before or {})
        if after is None:
            assert before is not None
            before = json.loads(json.dumps(before))
            before["metadata"]["resourceVersion"] = str(self._version)
            del self._objects[kind][key]
        else:
            after["metadata"]["resourceVersion"] = str(self._version)
            self._objects[kind][key] = after
        self._history.append(Event(self._version, kind, before, after))
        for news in self._news:
            news.set()

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        return await handler(request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if request.query.get("watch") == "true":
            return await self._watch(request, kind)
        return await self._list(request, kind)

    async def _list(self, request: web.Request, kind: str) -> web.Response:
        token, limit = request.query.get("continue"), int(request.query.get("limit", "0"))
        if token is not None:
            if token not in self._pages:
                return _status(410, "Expired", "The provided continue parameter is too old")
            version, left = self._pages.pop(token)
        else:
            with self.asked:
                self.lists += 1
                self.asked.notify_all()
            version = self._version
            left = [each for each in self._objects[kind].values() if _selected(each, request.query)]
        now, left = (left[:limit], left[limit:]) if limit else (left, [])
        metadata = {"resourceVersion": str(version)}
        if left:
            metadata["continue"] = f"page-{version}-{len(left)}-{kind}"
            self._pages[metadata["continue"]] = version, left
        return web.json_response({"kind": f"{KINDS[kind][0]}List", "metadata": metadata, "items": now})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if since < self._oldest:
            await response.write(_line("ERROR", _status_object(410, "Expired", "too old resource version")))
            return response
        if self.instead_of_events is not None:
            await response.write(self.instead_of_events)
            return response
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        self._tell(+1)
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "300"))):
                await self._stream(response, kind, since, request.query)
        except TimeoutError:
            return response
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._streams.discard(task)
            self._tell(-1)
        return response

    def _tell(self, change: int) -> None:
        with self.asked:
            self.watches += change > 0
            self.watching += change
            self.asked.notify_all()

    async def _stream(self, response: web.StreamResponse, kind: str, since: int, query: Mapping[str, str]) -> None:
        news = asyncio.Event()
        self._news.add(news)
        try:
            while True:
                for event in [each for each in self._history if each.version > since]:
                    since = event.version
                    if event.kind == kind and (line := _told(event, query)) is not None:
                        await response.write(line)
                news.clear()
                try:
                    async with asyncio.timeout(self.bookmark_seconds):  # `wait_for` may lose a cancellation
                        await news.wait()
                except TimeoutError:
                    name, api = KINDS[kind]
                    mark = {"kind": name, "apiVersion": api, "metadata": {"resourceVersion": str(self._version)}}
                    if query.get("allowWatchBookmarks") == "true":
                        since = self._version
                        await response.write(_line("BOOKMARK", mark))
        finally:
            self._news.discard(news)

    async def _keys(self, request: web.Request) -> web.Response:
        self.jwks_fetched += 1
        return web.Response(body=self.jwks, content_type="application/jwk-set+json")

    async def _review(self, request: web.Request) -> web.Response:
        review = await request.json()
        token = review["spec"]["token"]
        self.reviews.append(token)
        user = self.accounts.get(token)
        known = [each for each in review["spec"]["audiences"] if each in self.audiences]
        status: Object = {"authenticated": False, "error": "invalid bearer token"}
        if user is not None:
            status = {"authenticated": True, "user": user, "audiences": known}
        return web.json_response({**review, "status": status}, status=201)


def _key(each: Mapping[str, Any]) -> str:
    return f"{each['metadata'].get('namespace', '')}/{each['metadata']['name']}"


def _selected(each: Object | None, query: Mapping[str, str]) -> bool:
    if each is None:
        return False
    terms: Iterable[str] = filter(None, query.get("fieldSelector", "").split(","))
    for term in terms:
        field, value = term.split("!=")
        assert field == "status.phase", term
        if each.get("status", {}).get("phase") == value:
            return False
    return True


def _told(event: Event, query: Mapping[str, str]) -> bytes | None:
    was, now = _selected(event.before, query), _selected(event.after, query)
    if now and event.after is not None:
        return _line("MODIFIED" if was else "ADDED", event.after)
    if was and event.before is not None:
        return _line("DELETED", event.after or event.before)
    return None


def _line(kind: str, what: Object) -> bytes:
    return json.dumps({"type": kind, "object": what}).encode() + b"\n"


def _status_object(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(_status_object(code, reason, message), status=code)
