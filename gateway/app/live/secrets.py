"""The secrets that rules fill in: read at the start and at every reload, and again whenever one of their files changes,
even while the policy's own files are invalid.

If a file cannot be read its last good value stays; without one, requests that need it are refused. No log line holds a
value. Each serving process reads the files itself: no value is in a generation's frames or in any other message between
processes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gateway.model.authority import Host
from gateway.model.inspection.secret import Secret
from gateway.policy.requests.credentials import SecretScope
from gateway.settings.compile.inspection import secret_scope
from gateway.settings.gateway import GatewaySettings, SecretSettings
from gateway.settings.problems import BadValue
from gateway.settings.source.files import Stamp, stamp
from gateway.settings.source.secret_files import read_secret

_logger = logging.getLogger(__name__)


class SecretsRead(NamedTuple):
    """By name, the secret or why its file cannot be used. `files` are stamped just before the reading."""

    settings: Mapping[str, SecretSettings]
    values: Mapping[str, Secret | str]
    files: Mapping[Path, Stamp]


def read_secrets(settings: Mapping[str, SecretSettings]) -> SecretsRead:
    """All that gateway.yaml declares."""
    files = {secret.file: stamp(secret.file) for secret in settings.values()}
    return SecretsRead(settings, {name: _read(secret) for name, secret in settings.items()}, files)


def _read(secret: SecretSettings) -> Secret | str:
    try:
        return read_secret(secret.file, secret.scrub)
    except BadValue as refusal:
        return str(refusal)


class _Kept(NamedTuple):
    """`is_usable`: whether the file was, when it was read last."""

    file: Path
    scope: SecretScope
    secret: Secret | None
    is_usable: bool


class SecretsInForce:
    """Fulfils `SecretStore` and `followers.Follower`."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._settings: Mapping[str, SecretSettings] = {}
        self.files: Mapping[Path, Stamp] = {}

    def find(self, name: str, host: Host, groups: Sequence[str]) -> Secret | None:
        """See `SecretStore`. The current gateway.yaml decides, also for a rule of an older generation."""
        kept = self._kept.get(name)
        if kept is None or not kept.scope.covers(host) or not kept.scope.is_for(groups):
            return None
        return kept.secret

    def prepare(self, settings: GatewaySettings) -> Callable[[], None]:
        """See `Follower`."""
        return partial(self.take, read_secrets(settings.secrets))

    def take(self, read: SecretsRead) -> None:
        """Use these from now on."""
        self._settings, self.files = read.settings, read.files
        self._kept = {name: self._keep(name, secret, read.values[name]) for name, secret in read.settings.items()}

    async def read_again(self) -> None:
        """A file changed."""
        settings = self._settings
        read = await asyncio.to_thread(read_secrets, settings)
        if self._settings is settings:  # no reload came in between
            self.take(read)

    def _keep(self, name: str, settings: SecretSettings, value: Secret | str) -> _Kept:
        last = self._kept.get(name)
        known = last.secret if last is not None and last.file == settings.file else None
        if isinstance(value, Secret):
            if known is not None and known.reveal() != value.reveal():
                _logger.info("secret %s: its new value is in force", name)
            elif last is not None and not last.is_usable:
                _logger.info("secret %s: %s is usable %s", name, settings.file, "now" if known is None else "again")
            return _Kept(settings.file, secret_scope(settings), value, is_usable=True)
        outcome = "requests that need it are refused" if known is None else "its last good value stays in force"
        _logger.error("secret %s: %s %s: %s", name, settings.file, value, outcome)
        if known is not None and known.scrub is not settings.scrub:
            known = Secret(known.reveal(), settings.scrub)
        return _Kept(settings.file, secret_scope(settings), known, is_usable=False)
