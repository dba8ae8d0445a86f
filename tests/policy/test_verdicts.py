"""What the gateway makes of random files against `contract`, a plain reading of the pages: the whole way from the text
through the loader, a reload's frames, the index and its memory to the verdict, the addresses and the names in TLS.

`FUZZ_EXAMPLES=10000`, with `--timeout 0`, takes so many new worlds.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from random import Random
from timeit import repeat
from typing import Any

import pytest

from gateway.app.configuration import Sources, load_configuration
from gateway.app.generation.assembler import Assembler, OwnAddresses
from gateway.app.generation.frames import contents_of, dump, load
from gateway.model.addresses import Address
from gateway.model.authority import Authority
from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Permit
from gateway.model.intent import Door, Intent, Protocol
from gateway.model.names import HostName
from gateway.policy import addresses, candidates, challenge, confirm, decide, groups, index, parts
from gateway.policy.candidates import CandidateSet, Exceptions
from gateway.policy.decide import decide as judge_by_index
from gateway.policy.groups import GroupIndex
from gateway.policy.index import Decisions, Rules, build_rules
from gateway.policy.rules import Except, Policy, Tier
from gateway.policy.tables.hosts import HostTable
from gateway.settings.compile import policy as compiling
from gateway.settings.compile import rule as compiling_rules
from gateway.settings.problems import ConfigErrors
from tests.policy import contract, worlds
from tests.policy.builders import NOW, address, rule
from tests.policy.contract import Asker, Destination, Verdict, Wish, World

LONG = "FUZZ_EXAMPLES" in os.environ
WORLDS = int(os.environ.get("FUZZ_EXAMPLES", "40"))
QUESTIONS = 40


def carried(world: World, directory: Path) -> Rules:
    """From files, as a child process reads and sends them for a reload."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "policy").mkdir(parents=True)
    settings = {"addresses": {"allow": world.allow, "deny": world.deny}, "cluster": {"domains": world.domains}}
    texts = {f"policy/{name}": json.dumps(body, ensure_ascii=False) for name, body in world.files.items()}
    texts |= {f"policy/{name}": text for name, text in world.lists.items()}
    for name, text in {**texts, "gateway.yaml": json.dumps({"policy": "policy", **settings})}.items():
        (directory / name).write_text(text, encoding="utf-8")
    read = load_configuration(Sources(directory / "gateway.yaml"), {})
    whole = replace(read, policy=with_teams(read.policy, world))
    assembler = Assembler(1, OwnAddresses(frozenset((address(text), port) for text, port in world.own)))
    for content in contents_of(whole):
        assembler.take(load(dump(content)))
    return assembler.finish().rules


def with_teams(policy: Policy, world: World) -> Policy:
    """No file says yet that it is a team's."""
    files = [(one, one.ref.name.partition("#")[0]) for one in policy.rules]
    teams = [
        replace(one, tier=Tier.TEAM, namespace=world.team[file]) if file in world.team else one for one, file in files
    ]
    return replace(policy, rules=tuple(teams))


def client_of(asker: Asker) -> Client:
    source = IdentitySource.BASIC if asker.facts else IdentitySource.ADDRESS
    doubt = "elsewhere" if asker.doubt else None
    return Client(address(asker.address), source, known=asker.known, doubt=doubt, **asker.facts)


def host_of(host: Destination) -> HostName | Address:
    return HostName(host) if isinstance(host, str) else address(str(host))


def check(world: World, rules: Rules, random: Random, asker: Asker, wish: Wish, now: float) -> None:
    """Raises AssertionError where the two do not agree: on the verdict, and on all that follows from it."""
    client, host = client_of(asker), host_of(wish.host)
    original = None if wish.original is None else address(str(wish.original))
    intent = Intent(Door.CONNECT, Authority(host, wish.port), Protocol.HTTP if wish.is_http else None, original)
    decision = judge_by_index(client, intent, rules, now)
    verdict = contract.judge(world, asker, wish, now)
    if not isinstance(decision, Permit):
        named = decision.rule.name if decision.rule is not None else None
        assert (decision.reason, named) == (verdict.reason, verdict.rule)
        anonymous = client.source is IdentitySource.ADDRESS and client.known and original is None
        if anonymous and verdict.reason in ("no_rule", "denied_by_rule"):
            helps = challenge.would_credentials_help(client, intent, rules, now)
            assert helps == contract.challenges(world, asker, wish, now)
        return
    assert summary(decision) == verdict
    assert verdict.host is not None
    for text in random.sample(worlds.ADDRESSES, 8) if isinstance(verdict.host, str) else [str(verdict.host)]:
        refusal = decision.screen(address(text))
        refused = refusal is not None and refusal.enforced
        assert (text, refused) == (text, contract.refuses(world, asker, wish, now, verdict, contract.canonical(text)))
    if original is None and not wish.is_http:
        for name in [None, *map(HostName, random.sample(worlds.NAMES, 3))]:
            found = confirm.confirm_name(decision, name, client, intent, rules, now)
            judged = None if found is None else (type(found).__name__, found.reason)
            assert (name, judged) == (name, contract.confirm(world, asker, wish, now, verdict, name))


def summary(permit: Permit) -> Verdict:
    aside, host = permit.would_deny, permit.authority.host
    noted = None if aside is None else (aside.reason, aside.rule.name if aside.rule is not None else None)
    shown = host if isinstance(host, str) else contract.canonical(str(host))
    return Verdict(None, permit.rule.name, permit.also, noted, shown, permit.terms.inspect)


def compare(seed: int, directory: Path) -> None:
    """One world, and questions of which some are asked again at another time."""
    random = Random(seed)
    world = worlds.make_world(random)
    wrong = contract.contradictions(world)
    try:
        rules = carried(world, directory)
    except ConfigErrors as refusal:
        if not wrong or "common port" not in str(refusal):
            raise AssertionError(f"seed {seed}: {world} does not load: {refusal}") from refusal
        return
    assert not wrong, f"seed {seed}"
    asked = [worlds.make_question(random) for _ in range(QUESTIONS)]
    again = [(asker, wish, random.choice(worlds.MOMENTS)) for asker, wish, _ in asked[::4]]
    for question in [*asked, *again]:
        try:
            check(world, rules, random, *question)
        except AssertionError as difference:
            raise AssertionError(f"seed {seed}: {question} in {world}: {difference}") from difference


def compare_many(seeds: Iterable[int], directory: Path) -> None:
    for seed in seeds:
        compare(seed, directory)


@pytest.mark.parametrize("packed_from", [1, 1000])
def test_the_gateway_decides_as_a_plain_reading_of_the_pages_does(
    packed_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PACKED_FROM", packed_from)
    first = Random().randrange(1 << 40) if LONG else packed_from
    compare_many(range(first, first + WORLDS // 2), tmp_path / "world")


def unlike(value: Any) -> Callable[..., Any]:
    return lambda *_: value


FAULTS: Sequence[tuple[object, str, Any]] = [
    (compiling, "find_conflicts", unlike(())),  # the loader
    (compiling_rules, "_except", unlike(Except())),
    (parts, "_names_exactly", lambda one: bool(one.hosts)),  # what is carried
    (index, "_PROTOCOL_BY_PORT", {}),
    (HostTable, "find_exact", unlike([])),  # the index
    (candidates, "_rank", lambda one: one.ref.name),
    (Exceptions, "_takes_out_client", unlike(False)),
    (CandidateSet, "_groups", lambda self, membership: self._named.keys() & membership.names),  # who asks
    (GroupIndex, "_with_doubts", lambda self, client: self.membership_of(client._replace(doubt=None))),
    (groups, "_has", unlike(True)),
    (GroupIndex, "_mode", lambda self, _: self._default),
    (Decisions, "recall", lambda self, asked, _: self._permitted.get(asked) or self._denied.get(asked)),  # memory
    (decide, "_allow", lambda allows, asked, verdict: False),  # the verdict
    (decide, "_is_exact", unlike(True)),
    (confirm, "_deciding", unlike(None)),  # the name in TLS
    (addresses, "embedded_in", unlike(())),  # the address
    (addresses, "is_own", unlike(False)),
    (challenge, "_groups_named", unlike(set())),  # whether to ask for credentials
]


@pytest.mark.parametrize(("where", "name", "fault"), FAULTS, ids=[name for _, name, _ in FAULTS])
def test_the_comparison_notices_a_planted_fault(
    where: object, name: str, fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, fault)
    with pytest.raises(AssertionError, match="seed"):
        compare_many(range(1000), tmp_path / "world")


def seconds_for_many_decisions(patterns: int) -> float:
    """The best of several rounds, so that other work on the machine does not count."""
    rules = build_rules(Policy(tuple(rule(f"r{index}", f"*.n{index}.test") for index in range(patterns))), 1)
    intents = [Intent(Door.CONNECT, Authority(HostName(f"a.n{index}.test"), 443)) for index in range(0, patterns, 7)]
    who = Client(address("10.1.1.1"))

    def some_decisions() -> None:
        for intent in islice(cycle(intents), 2000):
            assert isinstance(judge_by_index(who, intent, rules, NOW), Permit)

    return min(repeat(some_decisions, number=1, repeat=9))


def test_deciding_does_not_take_longer_among_more_patterns() -> None:
    """Two hundred times the patterns; a look-up in a bigger table misses the processor's caches more often."""
    assert seconds_for_many_decisions(20_000) < 20 * seconds_for_many_decisions(100)
