"""The client matrix: how each real client is told of a proxy, a CA and credentials, and what it should bring back."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.requirements import require, unavailable

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
USER, PASSWORD = "ci", "correct-horse"
SECONDS = 60.0
JAVA_OF_ONE_ERRAND = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""It compiles and collects for as long as one errand takes: a fifth of its time."""


@dataclass(frozen=True, slots=True)
class Task:
    """One errand: fetch from `origin` (`https://name:port` or `http://name:port`) through the proxy at `proxy_port`.

    The origin's files: `hello.txt`, a git repository under `repository.git`, a package index under `simple/` and a
    repository of Debian packages under `apt/`.
    """

    origin: str
    proxy_port: int
    ca_file: Path
    folder: Path
    with_credentials: bool = False
    user: str = USER
    password: str = PASSWORD

    @property
    def proxy(self) -> str:
        """As a URL, with credentials if there are any."""
        userinfo = f"{self.user}:{self.password}@" if self.with_credentials else ""
        return f"http://{userinfo}127.0.0.1:{self.proxy_port}"

    @property
    def url(self) -> str:
        """What most clients fetch."""
        return f"{self.origin}/hello.txt"


Command = Sequence[str | Path]
Errand = tuple[Command, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """One row. `errand` says how to run it; `fetched` finds what it brought back, by default its standard output."""

    name: str
    version: Callable[[], str]
    errand: Callable[[Task], Errand]
    fetched: Callable[[Task, str], str] = lambda task, output: output

    def run(self, task: Task) -> tuple[int, str, str]:
        """Exit status, what it brought back, and what it complained about."""
        command, extra = self.errand(task)
        environ = {"PATH": os.environ["PATH"], "HOME": str(task.folder), "PIP_CONFIG_FILE": os.devnull, **extra}
        done = subprocess.run(
            [str(part) for part in command],
            env=environ,
            cwd=task.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        brought = self.fetched(task, done.stdout) if done.returncode == 0 else ""
        return done.returncode, brought, done.stdout + done.stderr


def _curl(task: Task) -> Errand:
    return [
        require("curl"), "--silent", "--show-error", "--fail", "--proxy", task.proxy, "--proxy-anyauth",
        "--cacert", task.ca_file, task.url,
    ], {}  # fmt: skip


def _wget(task: Task) -> Errand:
    return [
        require("wget"), "--no-verbose", "--tries=1", "--output-document=-",
        f"--ca-certificate={task.ca_file}", task.url,
    ], {"https_proxy": task.proxy, "http_proxy": task.proxy}  # fmt: skip


def _git(task: Task) -> Errand:
    return [
        require("git"), "-c", f"http.proxy={task.proxy}", "-c", f"http.sslCAInfo={task.ca_file}",
        "clone", "--quiet", f"{task.origin}/repository.git", "cloned",
    ], {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}  # fmt: skip


def _pip(task: Task) -> Errand:
    return [
        sys.executable, "-m", "pip", "download", "-vv", "--no-deps", "--disable-pip-version-check", "--retries=0",
        "--index-url", f"{task.origin}/simple/", "--cert", task.ca_file, "--proxy", task.proxy,
        "--dest", "downloaded", "hello",
    ], {}  # fmt: skip


def _from_wheel(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("hello.txt").decode()


def _python(library: str) -> Callable[[Task], Errand]:
    def errand(task: Task) -> Errand:
        proxies = {"HTTPS_PROXY": task.proxy, "HTTP_PROXY": task.proxy}
        return [sys.executable, HERE / "client.py", library, task.url, task.ca_file], proxies

    return errand


def node(program: Callable[[], str], way: str) -> Callable[[Task], Errand]:
    """An errand for `client.mjs`."""

    def errand(task: Task) -> Errand:
        return [program(), HERE / "client.mjs", way, task.url], {
            "HTTPS_PROXY": task.proxy,
            "HTTP_PROXY": task.proxy,
            "NODE_EXTRA_CA_CERTS": str(task.ca_file),
            "NODE_USE_ENV_PROXY": "1",
        }

    return errand


def java_classes() -> Path:
    """Where `Client` is, compiled."""
    classes, source = HERE.parent.parent / "build" / "clients", HERE / "Client.java"
    compiled = classes / "Client.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([require("javac"), "-d", classes, source], check=True)
    return classes


def _java(way: str) -> Callable[[Task], Errand]:
    def errand(task: Task) -> Errand:
        credentials = [task.user, task.password] if task.with_credentials else []
        # Java does not send Basic credentials to a proxy for https unless it is told to.
        return [
            require("java"), *JAVA_OF_ONE_ERRAND, "-Djdk.http.auth.tunneling.disabledSchemes=", "-cp", java_classes(),
            "Client", way, task.url, task.ca_file, str(task.proxy_port), *credentials,
        ], {}  # fmt: skip

    return errand


def installed_node() -> str:
    """The machine's own."""
    if not (NODE_MODULES / "undici").exists():
        unavailable("the Node packages of tests/clients are not installed; .ci/setup test does it")
    return require("node")


def current_node() -> str:
    """The one that npm's package `node` brings."""
    program = NODE_MODULES / "node" / "bin" / "node"
    if not program.exists():
        unavailable("a current Node is not installed under tests/clients; .ci/setup test does it")
    return str(program)


def said(command: Callable[[], Command], word: int = -1) -> Callable[[], str]:
    """A word of the first line that a program says, for its version."""

    def version() -> str:
        done = subprocess.run([str(part) for part in command()], capture_output=True, text=True, check=True)
        return (done.stdout or done.stderr).splitlines()[0].split()[word].strip('v"')

    return version


def _library(name: str) -> Callable[[], str]:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return said(lambda: [sys.executable, "-c", code])


CLIENTS = (
    ClientProgram("curl", said(lambda: [require("curl"), "--version"], 1), _curl),
    ClientProgram("wget", said(lambda: [require("wget"), "--version"], 2), _wget),
    ClientProgram(
        "git clone",
        said(lambda: [require("git"), "--version"]),
        _git,
        lambda task, _: (task.folder / "cloned" / "hello.txt").read_text(),
    ),
    ClientProgram("Python urllib", said(lambda: [sys.executable, "--version"]), _python("urllib")),
    ClientProgram("Python requests", _library("requests"), _python("requests")),
    ClientProgram("Python httpx", _library("httpx"), _python("httpx")),
    ClientProgram("Python aiohttp", _library("aiohttp"), _python("aiohttp")),
    ClientProgram(
        "pip download",
        _library("pip"),
        _pip,
        lambda task, _: _from_wheel(task.folder / "downloaded" / "hello-1.0-py3-none-any.whl"),
    ),
    ClientProgram("Node fetch (undici)", said(lambda: [installed_node(), "--version"]), node(installed_node, "undici")),
    ClientProgram("Node https (agent)", said(lambda: [installed_node(), "--version"]), node(installed_node, "agent")),
    ClientProgram("Node fetch", said(lambda: [current_node(), "--version"]), node(current_node, "fetch")),
    ClientProgram("Node https", said(lambda: [current_node(), "--version"]), node(current_node, "https")),
    ClientProgram("Java HttpClient", said(lambda: [require("java"), "-version"], 2), _java("HttpClient")),
    ClientProgram("Java HttpURLConnection", said(lambda: [require("java"), "-version"], 2), _java("HttpURLConnection")),
)
