"""`egress-gateway import`: converts files of other products into a policy, and reports what is missing in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import typer

from gateway.cli.console import complaints, counted, plain, say
from gateway.migrate.findings import Effect, Findings, Unreadable
from gateway.migrate.grants import Imported
from gateway.migrate.reading import Node, read_documents
from gateway.migrate.rules import RuleText, rules_of
from gateway.migrate.sets import EVERY_PORT, Spans
from gateway.migrate.sets import ports as ports_of
from gateway.migrate.sources import cilium, istio, network_policy
from gateway.migrate.sources.cilium import read_cilium_policies
from gateway.migrate.sources.istio import read_istio
from gateway.migrate.sources.kubernetes import Kinds, others_than
from gateway.migrate.sources.network_policy import read_network_policies
from gateway.migrate.sources.smokescreen import Choices, read_smokescreen
from gateway.migrate.sources.squid.access import read_squid
from gateway.migrate.writing import policy_text
from gateway.settings.compile.policy import compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import parse_policy
from gateway.settings.problems import BadValue
from gateway.settings.source.files import Reader
from gateway.settings.units import parse_port

STDIN = Path("-")
_OTHERS = 5
_STYLES = {Effect.NOTE: "", Effect.LEFT_OUT: "yellow", Effect.WIDER: "red"}

Read = Callable[[Sequence[Node]], Imported]
_OF_OBJECTS: dict[str, tuple[Read, Kinds]] = {
    "istio": (read_istio, istio.KINDS),
    "cilium": (read_cilium_policies, cilium.KINDS),
    "network-policy": (read_network_policies, network_policy.KINDS),
}
SOURCES = ("smokescreen", "squid", *_OF_OBJECTS)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the source does not say, and whether what cannot be carried over is accepted."""

    ports: str | None = None
    role_is: str = "user"
    inspect: bool = False
    accept: bool = False


def import_files(source: str, files: Sequence[Path], options: ImportOptions) -> bool:
    """Print a policy; False if the exit status has to say that something is missing in it. Raises `Unreadable`,
    `ConfigErrors` (the policy would not load) and `BadValue` (`--ports`)."""
    imported = _read(source, files, options)
    rules = rules_of(imported)
    text = policy_text(imported, rules, f"{source}: {', '.join(map(str, files))}")
    compile_policy((parse_policy(text, "the policy that was made"),), GatewaySettings(), Reader())
    _tell(imported.findings, rules)
    wider = imported.findings.having(Effect.WIDER)
    if not wider or options.accept:
        typer.echo(text, nl=False)
    else:
        say(complaints(), "no policy is printed, because it would allow more; --accept prints it", "bold red")
    return options.accept or not (wider or imported.findings.having(Effect.LEFT_OUT))


def _read(source: str, files: Sequence[Path], options: ImportOptions) -> Imported:
    if source in ("smokescreen", "squid") and len(files) != 1:
        raise Unreadable(f"{source} is one file")
    if source == "squid":
        return read_squid(_text(files[0]), str(files[0]), lambda name: _text(Path(name)), _found)
    documents = [document for file in files for document in read_documents(_text(file), str(file))]
    if source != "smokescreen":
        return _read_objects(*_OF_OBJECTS[source], documents, ", ".join(map(str, files)))
    if len(documents) != 1:
        raise Unreadable(f"{files[0]}: {f'holds {len(documents)} documents, not one' if documents else 'is empty'}")
    return read_smokescreen(documents[0], Choices(_ports(options.ports), options.role_is, options.inspect))


def _read_objects(read: Read, kinds: Kinds, documents: Sequence[Node], files: str) -> Imported:
    """Files without any object of these kinds are an error, not an empty policy."""
    others = others_than(documents, kinds)
    if others is not None:
        found = f", only {', '.join(others[:_OTHERS])}{', ...' * (len(others) > _OTHERS)}" if others else ""
        raise Unreadable(f"{files}: holds no {' or '.join(kinds)}{found}")
    return read(documents)


def _found(pattern: str) -> list[str]:
    return sorted(glob(pattern))  # noqa: PTH207  # Path.glob takes no absolute pattern


def _text(file: Path) -> str:
    """`-` is standard input."""
    try:
        return Reader().read(Path("/dev/stdin") if file == STDIN else file)
    except BadValue as refusal:
        raise Unreadable(f"{file} {refusal}") from refusal


def _ports(written: str | None) -> Spans:
    return EVERY_PORT if written is None else ports_of(*map(parse_port, written.split(",")))


def _tell(findings: Findings, rules: Sequence[RuleText]) -> None:
    console = complaints()
    for effect in (Effect.NOTE, Effect.LEFT_OUT, Effect.WIDER):
        for line in findings.lines(effect):
            say(console, plain(f"{effect}: {line}"), _STYLES[effect])
    for line in findings.wildcard_lines():
        say(console, plain(f"wildcard: {line}"))
    counts = {effect: len(findings.having(effect)) for effect in (Effect.LEFT_OUT, Effect.WIDER)}
    lost = [f"{count} {effect}" for effect, count in counts.items() if count]
    say(console, ", ".join([counted(len(rules), "rule"), *lost]))
