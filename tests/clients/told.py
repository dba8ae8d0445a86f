"""The rows of the client matrix as users type them: a proxy and an authority are told by variables alone."""

import sys
from collections.abc import Callable, Mapping

from tests.clients.inspected import NPM, WEBSOCKET
from tests.clients.matrix import (
    CLIENTS,
    HERE,
    JAVA_OF_ONE_ERRAND,
    ClientProgram,
    Command,
    Task,
    current_node,
    installed_node,
    java_classes,
)
from tests.helpers.requirements import require

OVER_THE_STORE = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


def _wget(task: Task) -> Command:
    """Reads no variable for authorities: the bundle is mounted over the system's, as the command's remark says."""
    wget = [require("wget"), "--no-verbose", "--tries=1", "--output-document=-", task.url]
    return [require("unshare"), "--mount", "sh", "-c", OVER_THE_STORE, task.ca_file, *wget]


def _python(library: str, path: str = "/hello.txt") -> Callable[[Task], Command]:
    def command(task: Task) -> Command:
        origin = task.origin.replace("https://", "wss://") if library == "websocket" else task.origin
        return [sys.executable, HERE / "client.py", library, f"{origin}{path}"]

    return command


def _node(program: Callable[[], str], way: str) -> Callable[[Task], Command]:
    return lambda task: [program(), HERE / "client.mjs", way, task.url]


def _java(way: str) -> Callable[[Task], Command]:
    return lambda task: [require("java"), *JAVA_OF_ONE_ERRAND, "-cp", java_classes(), "Client", way, task.url]


_COMMANDS: Mapping[str, Callable[[Task], Command]] = {
    "curl": lambda task: [require("curl"), "--silent", "--show-error", "--fail", task.url],
    "wget": _wget,
    "git clone": lambda task: [require("git"), "clone", "--quiet", f"{task.origin}/repository.git", "cloned"],
    "Python urllib": _python("urllib"),
    "Python requests": _python("requests"),
    "Python httpx": _python("httpx"),
    "Python aiohttp": _python("aiohttp"),
    "pip download": lambda task: [
        sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--retries=0",
        "--index-url", f"{task.origin}/simple/", "--dest", "downloaded", "hello",
    ],
    "Node fetch (undici)": _node(installed_node, "undici"),
    "Node https (agent)": _node(installed_node, "agent"),
    "Node fetch": _node(current_node, "fetch"),
    "Node https": _node(current_node, "https"),
    "Java HttpClient": _java("HttpClient"),
    "Java HttpURLConnection": _java("HttpURLConnection"),
    "npm pack": lambda task: [
        require("npm"), "pack", "hello", f"--registry={task.origin}/npm/", "--fetch-retries=0", "--no-update-notifier",
    ],
    "aiohttp WebSocket": _python("websocket", "/socket"),
}  # fmt: skip

TOLD_CLIENTS: Mapping[ClientProgram, Callable[[Task], Command]] = {
    client: _COMMANDS[client.name] for client in (*CLIENTS, NPM, WEBSOCKET)
}
"""Every client of the inspected matrix, and its command."""
