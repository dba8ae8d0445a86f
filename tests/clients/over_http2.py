"""Clients that speak HTTP/2 by themselves, or are told to."""

import sys
from dataclasses import replace

from tests.clients.matrix import CLIENTS, HERE, ClientProgram, Errand, Task, current_node, said
from tests.helpers.requirements import require


def _curl(task: Task) -> Errand:
    return [
        require("curl"), "--silent", "--show-error", "--fail", "--http2", "--proxy", task.proxy,
        "--cacert", task.ca_file, task.url,
    ], {}  # fmt: skip


def _httpx(task: Task) -> Errand:
    return [sys.executable, HERE / "client.py", "httpx2", task.url, task.ca_file], {"HTTPS_PROXY": task.proxy}


def _node(task: Task) -> Errand:
    environ = {"HTTPS_PROXY": task.proxy, "NODE_EXTRA_CA_CERTS": str(task.ca_file)}
    return [current_node(), HERE / "http2.mjs", task.url], environ


_JAVA = next(client for client in CLIENTS if client.name == "Java HttpClient")

HTTP2_CLIENTS = (
    ClientProgram("curl --http2", said(lambda: [require("curl"), "--version"], 1), _curl),
    ClientProgram(
        "Python httpx[http2]",
        said(lambda: [sys.executable, "-c", "import importlib.metadata as m; print(m.version('httpx'))"]),
        _httpx,
    ),
    replace(_JAVA, name="Java HttpClient (HTTP/2)"),
    ClientProgram("Node http2, 100 streams", said(lambda: [current_node(), "--version"]), _node),
)
