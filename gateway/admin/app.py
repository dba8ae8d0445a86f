"""The endpoints of the admin port, and the checks that every request passes before them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admin.access import Access, TokenFile, access_of
from gateway.admin.flows import PATH as FLOWS
from gateway.admin.flows import flow_route
from gateway.admin.state import AuditEntry, GatewayState, ReloadOutcome, Traffic
from gateway.telemetry.metrics import CONTENT_TYPE

ANSWER_SECONDS = 20.0
"""A reload that takes longer goes on after the answer 202: connections of the admin port are bounded in time."""

ID_CHARACTERS = 64

_INDEX = """\
GET  /healthz   200 while the process is alive
GET  /readyz    200 when ready for traffic, else 503 with the reason
GET  /metrics   Prometheus text format
GET  /ca.pem    the CA for inspection, for clients to trust
GET  /ca-bundle.pem   the same with everything that this machine trusts
GET  /tunnels   open tunnels
GET  /flows     connections and requests as they end (text/event-stream)
GET  /limits    the state of limits
POST /tunnels/ID/close    close a tunnel; needs the token
POST /reload    reload the policy; needs the token
POST /restart   replace the workers one by one; needs the token
"""


def build_admin_app(state: GatewayState, token: TokenFile | None) -> Starlette:
    """Every endpoint, behind authorization. No body, cookie or CORS; a query string only for the filters of flows."""
    routes = [
        Route("/", _index),
        _reload_route(state),
        _restart_route(state),
        _list_route("tunnels", state, lambda traffic: traffic.tunnels()),
        _close_route(state),
        flow_route(state.flows),
        _list_route("limits", state, lambda traffic: traffic.limits()),
        *_health_routes(state),
    ]
    return _build(routes, [Middleware(_NoQueryNoBody), Middleware(_Authorization, token=token)])


def build_health_app(state: GatewayState) -> Starlette:
    """Probes and metrics, for everybody."""
    return _build(_health_routes(state), [Middleware(_NoQueryNoBody)])


def _build(routes: list[Route], middleware: list[Middleware]) -> Starlette:
    app = Starlette(routes=routes, middleware=middleware)
    app.router.redirect_slashes = False  # a redirect's address would be made from the client's Host
    return app


class _NoQueryNoBody:
    """Refuses a body, and a query string except for flows: a token in a URL would end up in logs.

    Every scope is HTTP: the server speaks neither lifespan nor WebSocket.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = None
        if scope["query_string"] and scope["path"] != FLOWS:
            refusal = PlainTextResponse("no parameters here; a token goes into Authorization\n", 400)
        elif "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            refusal = PlainTextResponse("no body is taken\n", 413)
        await (refusal or self._app)(scope, receive, send)


class _Authorization:
    """GET and HEAD need read access, every other method the token."""

    def __init__(self, app: ASGIApp, token: TokenFile | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        enough = {Access.READ, Access.CHANGE} if scope["method"] in ("GET", "HEAD") else {Access.CHANGE}
        allowed = access_of(HTTPConnection(scope), self._token) in enough
        await (self._app if allowed else _unauthorized())(scope, receive, send)


def _health_routes(state: GatewayState) -> list[Route]:
    rendering = asyncio.Lock()  # one at a time: too many scrapes slow each other, not the gateway

    async def readyz(_: Request) -> Response:
        reason = state.unready()
        if reason is not None:
            return JSONResponse({"ready": False, "reason": reason}, 503)
        return JSONResponse({"ready": True})

    async def metrics(_: Request) -> Response:
        async with rendering:
            page = await asyncio.to_thread(state.metrics)
        return Response(page, media_type=CONTENT_TYPE)

    async def ca(_: Request) -> Response:
        return _pem(state.authorities())

    async def ca_bundle(_: Request) -> Response:
        return _pem(await asyncio.to_thread(state.trust_bundle))

    return [
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/ca.pem", ca),
        Route("/ca-bundle.pem", ca_bundle),
    ]


def _pem(certificates: bytes | None) -> Response:
    if certificates is None:
        return PlainTextResponse("nothing is inspected, or this machine has no trust store\n", 404)
    return Response(certificates, media_type="application/x-pem-file")


def _reload_route(state: GatewayState) -> Route:
    running: set[asyncio.Future[ReloadOutcome]] = set()

    async def reload(request: Request) -> Response:
        reloading = asyncio.ensure_future(state.reload())
        running.add(reloading)
        reloading.add_done_callback(running.discard)
        await asyncio.wait([reloading], timeout=ANSWER_SECONDS)
        if not reloading.done():
            state.audit(AuditEntry("reload", _peer(request), "begun"))
            return JSONResponse({"reading": True}, 202)
        outcome = reloading.result()
        problems = list(outcome.problems)
        state.audit(AuditEntry("reload", _peer(request), "failed" if problems else "done", "; ".join(problems)))
        return JSONResponse({"generation": outcome.generation, "problems": problems}, 422 if problems else 200)

    return Route("/reload", reload, methods=["POST"])


def _restart_route(state: GatewayState) -> Route:
    async def restart(request: Request) -> Response:
        """Answered at once, because old workers drain for as long as their connections take; the outcome is logged."""
        problem = state.restart()
        state.audit(AuditEntry("restart", _peer(request), "failed" if problem else "done", problem or "begun"))
        return JSONResponse({"problem": problem}, 409) if problem else JSONResponse({"begun": True}, 202)

    return Route("/restart", restart, methods=["POST"])


def _list_route(key: str, state: GatewayState, read: Callable[[Traffic], Awaitable[Sequence[object]]]) -> Route:
    """Makes and encodes one list at a time: there may be tens of thousands of entries."""
    listing = asyncio.Lock()

    async def entries(_: Request) -> Response:
        async with listing:
            page = await asyncio.to_thread(orjson.dumps, {key: await read(state.traffic)})
        return Response(page, media_type="application/json")

    return Route(f"/{key}", entries)


def _close_route(state: GatewayState) -> Route:
    async def close(request: Request) -> Response:
        connection_id = request.path_params["id"]
        found = await state.traffic.close_tunnel(connection_id)
        outcome = "done" if found else "failed"
        state.audit(AuditEntry("close tunnel", _peer(request), outcome, repr(connection_id[:ID_CHARACTERS])))
        return JSONResponse({"closed": found}, 200 if found else 404)

    return Route("/tunnels/{id}/close", close, methods=["POST"])


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


async def _index(_: Request) -> Response:
    return PlainTextResponse(_INDEX)


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _unauthorized() -> Response:
    return PlainTextResponse("the admin token is needed (admin.token_file)\n", 401, {"WWW-Authenticate": "Bearer"})
