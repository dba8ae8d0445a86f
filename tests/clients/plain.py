"""The rows of the client matrix for `http://`: most send absolute form, some a CONNECT for port 80 as well."""

import sys
from collections.abc import Callable

from tests.clients.matrix import CLIENTS, HERE, ClientProgram, Errand, Task, current_node, installed_node, node, said
from tests.helpers.requirements import require

_BOTH = frozenset(
    ("curl", "wget", "git clone", "Python urllib", "Python requests", "Python httpx", "Python aiohttp",
     "Node fetch (undici)", "Node fetch", "Java HttpClient", "Java HttpURLConnection")
)  # fmt: skip
"""The same program in the same way."""


def _apt(task: Task) -> Errand:
    require("dpkg-deb")
    require("apt-get")
    return [sys.executable, HERE / "apt.py", task.origin, task.proxy, task.folder], {}


def _version(program: Callable[[], str]) -> Callable[[], str]:
    return said(lambda: [program(), "--version"])


PLAIN_CLIENTS = (
    *(client for client in CLIENTS if client.name in _BOTH),
    ClientProgram("Node http (agent)", _version(installed_node), node(installed_node, "absolute")),
    ClientProgram("Node http", _version(current_node), node(current_node, "https")),
    ClientProgram("apt-get", said(lambda: [require("apt-get"), "--version"], 1), _apt),
)
