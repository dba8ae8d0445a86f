"""What an imported policy says, asked as the gateway asks: text, loaded as files are, and `decide` over it.

`FUZZ_EXAMPLES=10000` looks longer, and at new examples.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from gateway.migrate.findings import Effect
from gateway.migrate.grants import Imported
from gateway.migrate.reading import Node, read_documents
from gateway.migrate.rules import rules_of
from gateway.migrate.writing import policy_text
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.intent import Protocol
from gateway.policy.index import Rules, build_rules
from gateway.settings.compile.policy import compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import parse_policy
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Reader
from tests.policy.builders import address, ask, client, connect, get

EXAMPLES = Path(__file__).parent / "examples"
LONG = "FUZZ_EXAMPLES" in os.environ
LOOK = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    derandomize=not LONG,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
)
NOT_BROKEN: Callable[[str], str] = str
"""Takes the text of a policy as it is; a planted fault does not."""


def documents(*objects: Mapping[str, Any]) -> list[Node]:
    """Objects as the nodes of a file."""
    return read_documents(yaml.safe_dump_all(objects), "file.yaml")


@dataclass(frozen=True)
class Gate:
    """A policy in force."""

    text: str
    rules: Rules
    imported: Imported

    def decides(self, target: str, who: Client | None = None, plain: bool = False) -> Permit | None:
        """The permit for a CONNECT or, `plain`, a request in absolute form."""
        decision = ask(self.rules, get(target) if plain else connect(target), who or client())
        return decision if isinstance(decision, Permit) else None

    def passes(self, target: str, who: Client | None = None, leads_to: str = "93.184.216.34") -> bool:
        """Whether a CONNECT passes, the name leading to this address."""
        permit = self.decides(target, who)
        return permit is not None and permit.screen(address(leads_to)) is None

    def texts(self, effect: Effect) -> list[str]:
        """What was told."""
        return [remark.text for remark in self.imported.findings.having(effect)]


def gate(imported: Imported, breaks: Callable[[str], str] = NOT_BROKEN) -> Gate:
    """Written, broken if need be, and loaded. Raises `ConfigErrors` where `check` would refuse it."""
    text = breaks(policy_text(imported, rules_of(imported), "a test"))
    compiled = compile_policy((parse_policy(text),), GatewaySettings(), Reader())
    return Gate(text, build_rules(compiled.policy, generation=1), imported)


def is_http(permit: Permit | None) -> bool:
    """Whether the rule that decided carries plain HTTP only."""
    return permit is not None and permit.terms.protocol is Protocol.HTTP


T = TypeVar("T")


def is_caught(sources: st.SearchStrategy[T], disagrees: Callable[[T], bool]) -> bool:
    """Whether some source shows the fault while its policy still loads; the first one does, however long it is. Raises
    `NoSuchExample`."""

    def shows(source: T) -> bool:
        try:
            return disagrees(source)
        except ConfigErrors:
            return False

    first = settings(max_examples=2000, deadline=None, phases=[Phase.generate], derandomize=True)
    find(sources, shows, settings=first)
    return True
