"""The admin port of a running gateway, asked by commands."""

import json
import os
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from gateway.settings.load import load_settings
from gateway.settings.units import Endpoint

SECONDS = 30.0


class NoAnswer(Exception):
    """The admin port could not be asked, or refused; the text says why."""


class AdminPort:
    """Where `admin.bind` of the settings says, with the token of its file."""

    def __init__(self, config: Path | None) -> None:
        admin = load_settings(config, os.environ).admin
        self._bind: Endpoint = admin.bind
        self._headers: dict[str, str] = {}
        if admin.token_file is not None:
            try:
                token = admin.token_file.read_text().strip()
            except OSError as error:
                raise NoAnswer(f"{admin.token_file}: {error.strerror}") from error
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str) -> Any:
        """The answer, which is JSON whatever its status. Raises `NoAnswer`: none came, or a refusal in words."""
        host = str(self._bind.address) if self._bind.address.value else "localhost"
        connection = HTTPConnection(host, self._bind.port, timeout=SECONDS)
        try:
            connection.request(method, path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"no answer from the admin port {self._bind}: {error}") from error
        finally:
            connection.close()
        try:
            return json.loads(body)
        except ValueError:
            said = body.decode(errors="replace").strip()
            raise NoAnswer(f"the admin port {self._bind} answers {answer.status}: {said}") from None
