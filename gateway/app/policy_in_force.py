"""What is in force, and how something newer takes over: all or nothing, the last good generation stays until then."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.admin.state import ReloadOutcome
from gateway.app.configuration import Configuration
from gateway.app.entrances import Entrances
from gateway.app.own_addresses import own_addresses
from gateway.app.resolving import ResolverPlan
from gateway.model.addresses import Address
from gateway.policy.plan import Rules, build_rules
from gateway.serve.identify import Identifier
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import LoadedPolicy
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Stamp

_logger = logging.getLogger(__name__)


class PolicyInForce:
    """Holds the snapshot that new connections take. `listening` are the gateway's own sockets, never to be dialled."""

    def __init__(
        self, first: Configuration, load: Callable[[], Configuration], listening: frozenset[tuple[Address, int]]
    ) -> None:
        self._load = load
        self._listening = listening
        self._running = first.settings
        self.entrances = Entrances(first.settings)
        self._one_at_a_time = asyncio.Lock()
        self.reload_succeeded = True
        self.last_reload_time: float | None = None
        self._take(first, self._indexed(first.policy, generation=1))

    def _take(self, taken: Configuration, rules: Rules) -> None:
        self.rules = rules
        self.entrances.take(taken.settings, taken.materials)
        self.identifier: Identifier = taken.identifier
        self.resolver: ResolverPlan = taken.resolver
        self.settings: GatewaySettings = taken.settings
        self.files: Mapping[Path, Stamp] = taken.files
        for warning in taken.policy.warnings:
            _logger.warning("%s", warning)
        for key in taken.waiting_for_restart(self._running):
            _logger.warning("%s changed: it takes effect at the next start", key)

    def _indexed(self, loaded: LoadedPolicy, generation: int) -> Rules:
        addresses = replace(loaded.policy.addresses, listening=self._listening, own=own_addresses())
        return build_rules(replace(loaded.policy, addresses=addresses), generation)

    async def reload(self) -> ReloadOutcome:
        """Read the files again. What is wrong with them is logged and answered, and changes nothing."""
        async with self._one_at_a_time:
            self.last_reload_time = time.time()
            try:
                taken, rules = await asyncio.to_thread(self._read, self.rules.generation + 1)
            except ConfigErrors as error:
                return self._kept([str(problem) for problem in error.problems])
            except Exception:  # our fault; it must not end the watching for the next change as well
                _logger.exception("the policy could not be read")
                return self._kept(["internal error: the log has its traceback"])
            self.reload_succeeded = True
            self._take(taken, rules)
            _logger.info("policy generation %d is in force: %d rules", rules.generation, len(rules.policy.rules))
            return ReloadOutcome(rules.generation)

    def _read(self, generation: int) -> tuple[Configuration, Rules]:
        read = self._load()
        return read, self._indexed(read.policy, generation)

    def _kept(self, problems: Sequence[str]) -> ReloadOutcome:
        self.reload_succeeded = False
        for problem in problems:
            _logger.error("%s", problem)
        _logger.error("reload failed: policy generation %d stays in force", self.rules.generation)
        return ReloadOutcome(self.rules.generation, tuple(problems))
