"""docs/operations.md lists the pages of both ports, and so does the admin port itself."""

import re

import httpx
from starlette.routing import Route

from gateway.admin.app import build_admin_app, build_health_app
from tests.admin.test_server import FakeGateway
from tests.helpers.pages import text_of

SECTION = text_of("docs/operations.md").split("\n## Endpoints\n")[1].split("\n## ")[0]
DESCRIBED = re.findall(r"^\| `(GET|POST) ([^`]+)` \|", SECTION, re.MULTILINE)


def requests_of(app: object) -> list[tuple[str, str]]:
    """Method and path of every route, as the page spells them."""
    routes = [route for route in getattr(app, "routes", []) if isinstance(route, Route)]
    methods = [("POST" if "POST" in (route.methods or ()) else "GET", route.path) for route in routes]
    return [(method, path.replace("{id}", "ID")) for method, path in methods]


def test_every_page_of_the_admin_port_is_described() -> None:
    assert sorted(DESCRIBED) == sorted(requests_of(build_admin_app(FakeGateway(), None)))


def test_those_of_the_health_port_stand_first() -> None:
    health = requests_of(build_health_app(FakeGateway()))
    assert DESCRIBED[: len(health)] == health


async def test_the_port_lists_its_own_pages() -> None:
    app = build_admin_app(FakeGateway(), None)
    here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=here, base_url="http://127.0.0.1") as client:
        listed = (await client.get("/")).text
    found = [tuple(line.split()[:2]) for line in listed.splitlines()]
    assert sorted(found) == sorted(each for each in requests_of(app) if each[1] != "/")
