"""What a name server answers for an allowed name: none of its answers leads inside, and no lie is believed."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.abuse.case import Case, Need, Refused, Stage, connect, left, read_to_end, send
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.abuse.world import World
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import Fault
from tests.helpers.http_client import ResponseReader

_ASKS = frozenset({Need.RESOLVER})
_REBINDING = "CVE-2026-58442; smokescreen selectTargetAddr"

INSIDE = (
    "127.0.0.2",
    "0.0.0.0",
    "10.0.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.2",
    "64:ff9b::127.0.0.2",
    "2002:7f00:2::1",
    "::127.0.0.2",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "64:ff9b::169.254.169.254",
    "::ffff:169.254.169.254",
)


def asked(
    what: str,
    source: str,
    name: str,
    prepare: Callable[[World], None],
    reason: Reason | None,
    *told: int,
    port: str = "<tls>",
) -> Case:
    """The allowed `name` may be asked for, and leads nowhere."""
    waits = reason is Reason.DNS_TIMEOUT
    play = Refused(connect(f"{name}:{port}"), told or (403, 502, 503), may_ask=True, waits=waits, prepare=prepare)
    return Case("dns", what, source, play.sent, f"{play.expected} but questions", play, reason, _ASKS, waits=waits)


def leads_to(*addresses: str, name: str) -> Callable[[World], None]:
    return lambda world: world.dns.answer(name, *addresses, ttl=0)


def _spoilt(name: str, *faults: Fault) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        for fault in faults:
            world.dns.spoil(name, fault)

    return prepare


ANSWERS = tuple(
    asked(
        f"an allowed name that leads to {address}",
        "smokescreen classifyAddr",
        f"inside{number}.wild.test",
        leads_to(address, name=f"inside{number}.wild.test"),
        Reason.ADDRESS_REFUSED,
    )
    for number, address in enumerate(INSIDE)
)


def _aliased(world: World) -> None:
    world.dns.answer("inner.forbidden.test", "127.0.0.2")
    world.dns.alias("alias.wild.test", "inner.forbidden.test")


def _circular(world: World) -> None:
    world.dns.alias("round.wild.test", "round2.wild.test", alone=True)
    world.dns.alias("round2.wild.test", "round.wild.test", alone=True)


def _crowded(world: World) -> None:
    world.dns.answer("many.wild.test", *(f"127.1.{number // 250}.{number % 250 + 1}" for number in range(500)))


def _failing(world: World) -> None:
    world.dns.fail("failing.wild.test", "SERVFAIL")


OTHERS = (
    asked(
        "an alias of an internal host", "smokescreen classifyAddr", "alias.wild.test", _aliased, Reason.ADDRESS_REFUSED
    ),
    asked("500 internal addresses", "own", "many.wild.test", _crowded, Reason.ADDRESS_REFUSED),
    asked("a circle of aliases", "RFC 1034 section 3.6.2", "round.wild.test", _circular, None, 502, 503, 504),
    asked(
        "a name that does not exist",
        "smokescreen TestInvalidHost",
        "gone.wild.test",
        lambda world: world.dns.forget("gone.wild.test"),
        Reason.DNS_NAME_NOT_FOUND,
        404,
        502,
        503,
    ),
    asked("a name server that fails", "own", "failing.wild.test", _failing, Reason.DNS_FAILURE, 502, 503),
    asked(
        "a name server that is silent",
        "smokescreen DNSTimeout",
        "silent.wild.test",
        _spoilt("silent.wild.test", Fault.SILENCE),
        Reason.DNS_TIMEOUT,
        502,
        503,
        504,
    ),
    asked(
        "answers under another id, and then none",
        "RFC 5452 section 9",
        "id.wild.test",
        _spoilt("id.wild.test", Fault.WRONG_ID, Fault.SILENCE),
        Reason.DNS_TIMEOUT,
        502,
        503,
        504,
    ),
    asked(
        "answers to another question, and then none",
        "RFC 5452 section 9",
        "question.wild.test",
        _spoilt("question.wild.test", Fault.WRONG_QUESTION, Fault.SILENCE),
        Reason.DNS_TIMEOUT,
        502,
        503,
        504,
    ),
    asked(
        "answers that are no message, and then none",
        "RFC 1035 section 4",
        "garbage.wild.test",
        _spoilt("garbage.wild.test", Fault.GARBAGE, Fault.SILENCE),
        Reason.DNS_TIMEOUT,
        502,
        503,
        504,
    ),
)


@dataclass(frozen=True)
class _Rebound:
    """A name is asked for again and again while its answers change: never does anybody get inside."""

    name: str
    answers: tuple[tuple[str, ...], ...]
    told: tuple[tuple[int, ...], ...]

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        stage.world.dns.rotate(self.name, *map(list, self.answers), ttl=0)
        seen, found = stage.world.mark(), []
        for number, told in enumerate(self.told):
            status = _status(stage, f"{self.name}:<tls>", build_client_hello(self.name))
            if status not in told:
                found.append(wrong_answer(f"told {status} at {number}, not {told}"))
        return [*found, *left(stage, seen, may_ask=True)]


def _status(stage: Stage, authority: str, hello: bytes) -> int:
    with stage.connect() as client:
        send(client, stage.filled(connect(authority)) + hello)
        reader = ResponseReader(client)
        try:
            status = reader.peek_status()
        except OSError:
            return 0
        with contextlib.suppress(OSError):  # it may have been cut off
            if status == 200 and hello:
                read_to_end(client, 1)  # the echo, or a close: by then it has dialled
        return status


def _rebound(what: str, source: str, name: str, *steps: tuple[str, tuple[int, ...]]) -> Case:
    play = _Rebound(name, tuple(tuple(addresses.split()) for addresses, _ in steps), tuple(told for _, told in steps))
    shown = "; ".join(f"{addresses}: {'/'.join(map(str, told))}" for addresses, told in steps)
    return Case(
        "dns", what, source, connect(f"{name}:<tls>"), f"{shown}; 127.0.0.2 is never reached", play, needs=_ASKS
    )


_PASSES, _IS_REFUSED = (200,), (403, 502, 503)
CHANGING = (
    _rebound(
        "an answer that turns inside",
        "DNS rebinding",
        "turn.wild.test",
        ("127.0.0.1", _PASSES),
        ("127.0.0.2", _IS_REFUSED),
        ("127.0.0.1", _PASSES),
    ),
    _rebound(
        "an internal address beside a good one",
        _REBINDING,
        "mixed.wild.test",
        ("127.0.0.2 127.0.0.1", (200, 403)),
        ("127.0.0.1 127.0.0.2", (200, 403)),
        ("127.0.0.2", _IS_REFUSED),
    ),
    _rebound(
        "a good IPv4 beside an internal IPv6",
        _REBINDING,
        "families.wild.test",
        ("127.0.0.1 ::ffff:127.0.0.2", (200, 403)),
        ("::ffff:127.0.0.2", _IS_REFUSED),
    ),
)


def _falls_back(stage: Stage) -> Sequence[Complaint]:
    """Nobody listens at the first address; the second is internal."""
    stage.world.dns.answer("half.wild.test", "127.0.0.3", "127.0.0.2", ttl=0)
    seen = stage.world.mark()
    status = _status(stage, "half.wild.test:<tls>", b"")
    found = [] if status in _IS_REFUSED else [wrong_answer(f"told {status}, not {_IS_REFUSED}")]
    return [*found, *left(stage, seen, may_ask=True)]


def _asks_once(stage: Stage) -> Sequence[Complaint]:
    """The address that was judged is the one that is dialled: the name is not looked up again for the dial."""
    stage.world.dns.rotate("once.wild.test", ["127.0.0.1"], ["127.0.0.2"], ttl=0)
    before, seen = len(stage.world.dns.queries), stage.world.mark()
    _status(stage, "once.wild.test:<tls>", build_client_hello("once.wild.test"))
    kinds = [query.type for query in stage.world.dns.queries[before:] if query.name == "once.wild.test"]
    twice = [escape(f"asked {kinds}: judged one answer and dialled another")] if len(kinds) > len(set(kinds)) else []
    return [*twice, *left(stage, seen, may_ask=True)]


SCRIPTED = (
    Case(
        "dns",
        "a good address that refuses, and an internal one",
        "RFC 8305: falling back",
        connect("half.wild.test:<tls>"),
        "an error; 127.0.0.2 is never reached",
        _falls_back,
        needs=_ASKS,
    ),
    Case(
        "dns",
        "one question of a kind for a connection",
        "lobu#252; time of check, time of use",
        connect("once.wild.test:<tls>"),
        "one A and one AAAA at most",
        _asks_once,
        needs=_ASKS,
    ),
)

CASES: tuple[Case, ...] = (*ANSWERS, *OTHERS, *CHANGING, *SCRIPTED)
