"""A client of the admin port: at `admin.bind` of the settings, with the token of `admin.token_file`."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from gateway.cli.console import plain
from gateway.settings.load import load_settings
from gateway.settings.units import Endpoint

SECONDS = 30.0
_SHOWN_BYTES = 300


class NoAnswer(Exception):
    """The admin port could not be reached, or refused; the text says why."""


class AdminPort:
    """The admin port of the gateway that runs with this gateway.yaml. Raises `ConfigErrors`, or `NoAnswer` if the token
    cannot be read."""

    def __init__(self, config: Path | None) -> None:
        admin = load_settings(config, os.environ).admin
        self._bind: Endpoint = admin.bind
        self._token_file = admin.token_file
        self._headers: dict[str, str] = {}
        if admin.token_file is not None:
            try:
                words = admin.token_file.read_bytes().split()
            except OSError as error:
                raise NoAnswer(f"{admin.token_file}: admin.token_file: {error.strerror}") from error
            if len(words) != 1:
                raise NoAnswer(f"{admin.token_file}: admin.token_file: is empty, or holds blanks")
            self._headers["Authorization"] = f"Bearer {words[0].decode('latin-1')}"  # as headers are

    def ask(self, method: str, path: str, key: str) -> Any:
        """What the answer has under `key`: it is JSON whatever its status. Raises `NoAnswer` if there is none, or for a
        refusal."""
        with self._answer(method, path, {}) as answer:
            body = answer.read()
        try:
            return json.loads(body)[key]
        except (KeyError, TypeError, ValueError):
            raise self._refusal(answer, body) from None

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The lines of a streaming answer. Raises `NoAnswer` if there is none, or for a refusal."""
        with self._answer("GET", path, headers) as answer:
            if answer.status != 200 or answer.headers.get_content_type() != "text/event-stream":
                raise self._refusal(answer, answer.read())
            yield from answer

    @contextmanager
    def _answer(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        host = str(self._bind.address) if self._bind.address.value else "localhost"
        connection = HTTPConnection(host, self._bind.port, timeout=SECONDS)
        try:
            connection.request(method, path, headers={**self._headers, **headers})
            yield connection.getresponse()
        except TimeoutError as error:
            raise NoAnswer(
                f"no answer from the admin port {self._bind} within {SECONDS:g} s: is the gateway stopped, or without "
                "CPU, or a packet filter in between?"
            ) from error
        except (OSError, HTTPException) as error:
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            raise NoAnswer(
                f"no answer from the admin port {self._bind} ({why}): is the gateway running, "
                "and is this its admin.bind? -c names its gateway.yaml"
            ) from error
        finally:
            connection.close()

    def _refusal(self, answer: HTTPResponse, body: bytes) -> NoAnswer:
        said = plain(" ".join(body[:_SHOWN_BYTES].decode(errors="replace").split()))
        if "admin.token_file" in said:
            needed = "needs the token, and admin.token_file names none: -c names the gateway's own gateway.yaml"
            wrong = f"does not take the token in {self._token_file}: is it the gateway's own admin.token_file?"
            return NoAnswer(f"the admin port {self._bind} {needed if self._token_file is None else wrong}")
        if answer.status == 200:
            return NoAnswer(f"what answers at {self._bind} is no gateway's admin port: {said}")
        return NoAnswer(f"the admin port {self._bind} answers {answer.status}: {said}")
