"""Put any proxy through the suite.

    python -m tests.abuse --proxy 127.0.0.1:3128              everything that needs no more than the rules below
    python -m tests.abuse --proxy 127.0.0.1:3128 --admin 127.0.0.1:9090 --has users,name
    python -m tests.abuse --proxy 127.0.0.1:3128 --intercepts build/abuse-certificates
    python -m tests.abuse --proxy 127.0.0.1:3128 --only hosts,tls --json outcomes.json
    python -m tests.abuse --list                              each case with its bytes, what must happen, its source
    python -m tests.abuse --open                              against the open proxy that the suite ships

The suite puts destinations on 127.0.0.1, ports 18080 (HTTP), 18443 (TLS), 18444 (an echo) and 18445 (HTTP/2 in TLS),
and a name server on 127.0.0.1:5300 (--dns). Only ever run it against a proxy of your own on loopback. docs/abuse.md has
how to set it up: `allowed.test`, `other.test` and `*.wild.test` are allowed, `ordinary.test` on 18444, everything else
is not.

Exit status: 0 all as it should be, 1 something was not, 2 the proxy cannot be tested.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.abuse.case import Case, Need, Stage
from tests.abuse.complaint import Kind
from tests.abuse.inspected.origin import certificates_in
from tests.abuse.open_proxy import OpenProxy
from tests.abuse.suite import CASES, Outcome, by_family, run
from tests.abuse.world import World


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    asked = _parser().parse_args(arguments)
    families = tuple(filter(None, asked.only.split(",")))
    cases = [case for case in CASES if not families or case.family in families or case.id in families]
    if asked.list:
        for case in cases:
            print(_described(case))
        return 0
    has = {Need(word) for word in asked.has.split(",") if word}
    folder = asked.intercepts
    if folder is not None and not _is_prepared(folder):
        return 2
    with ExitStack() as stack:
        world = stack.enter_context(World(18080, 18443, 18444, _endpoint(asked.dns), 18445, folder))
        proxy, admin = _endpoint(asked.proxy), _endpoint(asked.admin) if asked.admin else None
        if asked.open:
            opened = stack.enter_context(OpenProxy((world.dns.address, world.dns.port)))
            proxy, admin = ("127.0.0.1", opened.port), ("127.0.0.1", opened.admin_port)
            has |= set(Need)
        stage = Stage(proxy, world, admin, asked.patience)
        if problems := world.ordinary(proxy, asked.patience):
            print(f"the proxy at {asked.proxy} cannot be tested: {problems[0].text}", file=sys.stderr)
            return 2
        has |= {Need.ADMIN} if admin else set()
        has |= {Need.INTERCEPTS} if folder is not None else set()
        has |= {Need.RESOLVER} if world.dns.queries else set()
        outcomes = list(run(cases, stage, frozenset(has)))
    _print(outcomes)
    if asked.json:
        Path(asked.json).write_text(json.dumps([as_json(outcome) for outcome in outcomes], indent=1) + "\n")
    return int(any(outcome.complaints for outcome in outcomes))


def _is_prepared(folder: Path) -> bool:
    """Whether the proxy can have been started with the authority that is there."""
    was_there = (folder / "inspected.pem").exists()
    folder.mkdir(parents=True, exist_ok=True)
    authority, _ = certificates_in(folder)
    if not was_there:
        print(f"{authority} is new: have the proxy trust it for inspected.test:18445, and start again", file=sys.stderr)
    return was_there


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.abuse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proxy", default="127.0.0.1:3128", metavar="HOST:PORT")
    parser.add_argument("--admin", default="", metavar="HOST:PORT", help="its admin port")
    parser.add_argument(
        "--dns", default="127.0.0.1:5300", metavar="HOST:PORT", help="where the suite's name server listens"
    )
    parser.add_argument("--has", default="", help="what else is configured: users, name")
    parser.add_argument(
        "--intercepts",
        type=Path,
        metavar="FOLDER",
        help="it ends TLS for inspected.test:18445, and trusts FOLDER/origins.pem, which is made if it is not there",
    )
    parser.add_argument("--only", default="", help="families or ids")
    parser.add_argument(
        "--patience", type=float, default=8.0, help="seconds: the proxy's longest time-out and some more"
    )
    parser.add_argument("--json", default="", metavar="FILE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--open", action="store_true")
    return parser


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _described(case: Case) -> str:
    needs = f"\n    needs     {', '.join(sorted(case.needs))}" if case.needs else ""
    control = " (a control: harmless, and must pass)" if case.is_control else ""
    return (
        f"{case.id}{control}\n    source    {case.source}\n    sends     {case.sent[:400]!r}\n"
        f"    expected  {case.expected}{needs}"
    )


def _print(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        for complaint in outcome.complaints:
            print(f"{outcome.case.id}: {complaint.kind}: {complaint.text}")
    for family, theirs in by_family(outcomes).items():
        counts = Counter(outcome.worst for outcome in theirs if not outcome.skipped)
        skipped = Counter(outcome.skipped for outcome in theirs if outcome.skipped)
        words = [f"{counts[None]} as they should be", *(f"{counts[kind]} {kind}" for kind in Kind if counts[kind])]
        print(f"{family:<11} {', '.join(words + [f'{number} not run: {why}' for why, number in skipped.items()])}")
    ran = [outcome for outcome in outcomes if not outcome.skipped]
    print(f"{len(ran)} cases, {sum(not outcome.complaints for outcome in ran)} as they should be")


def as_json(outcome: Outcome) -> dict[str, object]:
    """As it stands in files."""
    complaints = [f"{kind}: {text}" for kind, text in outcome.complaints]
    return {
        "id": outcome.case.id,
        "outcome": outcome.worst or "ok",
        "skipped": outcome.skipped,
        "complaints": complaints,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
