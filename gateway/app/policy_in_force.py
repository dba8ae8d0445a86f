"""Which rules are in force, and how new ones take over: all or nothing, the last good generation stays until then."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.admin.state import ReloadOutcome
from gateway.app.own_addresses import own_addresses
from gateway.model.addresses import Address
from gateway.policy.plan import Rules, build_rules
from gateway.settings.load import LoadedPolicy
from gateway.settings.problems import ConfigErrors

_logger = logging.getLogger(__name__)


class PolicyInForce:
    """Holds the snapshot that new connections take. `listening` are the gateway's own sockets, never to be dialled."""

    def __init__(
        self, loaded: LoadedPolicy, load: Callable[[], LoadedPolicy], listening: frozenset[tuple[Address, int]]
    ) -> None:
        self._load = load
        self._listening = listening
        self._one_at_a_time = asyncio.Lock()
        self.reload_succeeded = True
        self.last_reload_time: float | None = None
        self._take(loaded, self._indexed(loaded, generation=1))

    def _take(self, loaded: LoadedPolicy, rules: Rules) -> None:
        self.rules = rules
        self.files: Sequence[Path] = loaded.files
        for warning in loaded.warnings:
            _logger.warning("%s", warning)

    def _indexed(self, loaded: LoadedPolicy, generation: int) -> Rules:
        addresses = replace(loaded.policy.addresses, listening=self._listening, own=own_addresses())
        return build_rules(replace(loaded.policy, addresses=addresses), generation)

    async def reload(self) -> ReloadOutcome:
        """Read the files again. What is wrong with them is logged and answered, and changes nothing."""
        async with self._one_at_a_time:
            self.last_reload_time = time.time()
            try:
                loaded, rules = await asyncio.to_thread(self._read, self.rules.generation + 1)
            except ConfigErrors as error:
                return self._kept(error)
            self.reload_succeeded = True
            self._take(loaded, rules)
            _logger.info("policy generation %d is in force: %d rules", rules.generation, len(rules.policy.rules))
            return ReloadOutcome(rules.generation)

    def _read(self, generation: int) -> tuple[LoadedPolicy, Rules]:
        loaded = self._load()
        return loaded, self._indexed(loaded, generation)

    def _kept(self, error: Exception) -> ReloadOutcome:
        self.reload_succeeded = False
        problems = tuple(str(error).splitlines())
        for problem in problems:
            _logger.error("%s", problem)
        _logger.error("reload failed: policy generation %d stays in force", self.rules.generation)
        return ReloadOutcome(self.rules.generation, problems)
