"""Loads settings and policy: what `run`, `check` and a reload call.

All or nothing: one `ConfigErrors` reports all problems at once, and nothing has changed then.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gateway.model.errors import ConfigError
from gateway.policy.rules import Mode, Policy
from gateway.settings.compile.available import check_gateway_available, check_policy_available
from gateway.settings.compile.checks import check_gateway
from gateway.settings.compile.policy import PolicySource, compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.overrides import apply_overrides
from gateway.settings.policy import PolicyFile
from gateway.settings.problems import BadValue, ConfigErrors, Problems
from gateway.settings.section import Section, keys_of, validate
from gateway.settings.source.files import Reader, Stamp, is_there
from gateway.settings.source.pem import parse_authorities
from gateway.settings.source.places import Document, MarkedMapping
from gateway.settings.source.users import parse_users
from gateway.settings.source.yaml import parse_yaml

GATEWAY_FILE = Path("gateway.yaml")


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A valid policy. `files` are those that it was read from, directories included, as they were then, for a watcher;
    `warnings` and `notes` are lines for people."""

    policy: Policy
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    files: Mapping[Path, Stamp]


def load_settings(
    path: Path | None, environ: Mapping[str, str], policy_override: Path | None = None
) -> GatewaySettings:
    """gateway.yaml, overridden by the environment. `path` None is `./gateway.yaml`, or the defaults if it does not
    exist. `policy_override` is relative to the working directory, not to the file. Raises `ConfigErrors`.
    """
    document = _gateway_document(path)
    _refuse_other_kind(document, PolicyFile, GatewaySettings, "a policy, which --policy names, not of gateway.yaml")
    apply_overrides(document, environ)
    settings = validate(GatewaySettings, document, Path(document.file).parent).read_from(document)
    if policy_override is not None:
        settings = with_policy(settings, policy_override)
    problems = Problems()
    for where, message in chain(check_gateway(settings), check_gateway_available(settings)):
        problems.add(settings.document.place(where), message)
    problems.raise_if_any()
    return settings


def with_policy(settings: GatewaySettings, path: Path) -> GatewaySettings:
    """The same with another policy; `path` is relative to the working directory."""
    settings.document.origins["policy",] = "--policy"
    return settings.model_copy(update={"policy": path})


def _gateway_document(path: Path | None) -> Document:
    if path is None and not is_there(GATEWAY_FILE):
        return Document(str(GATEWAY_FILE), MarkedMapping(1))
    file = path or GATEWAY_FILE
    return parse_yaml(_read(Reader(), file, str(file)), str(file))


def load_users(settings: GatewaySettings) -> Mapping[str, bytes]:
    """bcrypt hashes by user name; empty without `identity.basic`. Raises `ConfigErrors`."""
    if settings.identity.basic is None:
        return {}
    file = settings.identity.basic.htpasswd
    text = _read(Reader(), file, settings.document.place(("identity", "basic", "htpasswd")))
    problems = Problems()
    users = parse_users(text, str(file), problems)
    problems.raise_if_any()
    return users


def load_resolver_authorities(settings: GatewaySettings) -> str | None:
    """The text of `resolver.tls.ca`; None for the system's trust store. Raises `ConfigErrors`."""
    tls = settings.resolver.tls
    if tls is None or tls.ca is None:
        return None
    place = settings.document.place(("resolver", "tls", "ca"))
    try:
        return parse_authorities(_read(Reader(), tls.ca, place))
    except BadValue as refusal:
        raise ConfigErrors([ConfigError(place, f"{tls.ca} {refusal}")]) from refusal


@contextmanager
def without_collector() -> Iterator[None]:
    """For code that makes millions of objects and no cycles: garbage collection takes a quarter of a load's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@without_collector()
def load_policy(settings: GatewaySettings) -> LoadedPolicy:
    """The policy that the settings name, whole. Raises `ConfigErrors`."""
    reader = Reader()
    sources, warnings = read_policy(settings, reader)
    unavailable = Problems()
    for source in sources:
        for where, message in check_policy_available(source.body, settings):
            unavailable.add(source.document.place(where), message)
    try:
        compiled = compile_policy(sources, settings, reader)
    except ConfigErrors as refusal:
        raise ConfigErrors((*unavailable.found, *refusal.problems)) from None
    unavailable.raise_if_any()
    if sources and not compiled.policy.rules:
        means = "report mode lets everything pass" if compiled.policy.mode is Mode.REPORT else "everything is denied"
        warnings = (*warnings, f"{settings.policy}: has no rules, {means}")
    return LoadedPolicy(compiled.policy, (*warnings, *compiled.warnings), compiled.notes, reader.files)


def read_policy(settings: GatewaySettings, reader: Reader) -> tuple[Sequence[PolicySource], Sequence[str]]:
    """The files of the policy in their typed form, and warnings about files that were ignored."""
    place = settings.document.place(("policy",))
    path = settings.policy
    if path == "kubernetes":
        raise ConfigErrors([ConfigError(place, "is not available yet")])
    try:
        if path.is_dir():
            return _read_directory(path, reader)
        if not settings.policy_is_named and not is_there(path):
            reader.note(path)
            return (), (f"{path}: there is no policy, everything is denied",)
    except OSError as refusal:
        raise ConfigErrors([ConfigError(place, f"{path} cannot be read: {refusal.strerror}")]) from refusal
    text = _read(reader, path, str(path) if is_there(path) else place)
    return (parse_policy(text, str(path), path.name, path.parent),), ()


def parse_policy(text: str, file: str = "policy.yaml", name: str = "", directory: Path = Path()) -> PolicySource:
    """One file of a policy from its text. `name` is its path from the policy's root; paths of list files are relative
    to `directory`. Raises `ConfigErrors`."""
    name = name or Path(file).name
    if not name.isprintable():  # it would be part of every record of its rules
        raise ConfigErrors([ConfigError(ascii(file), "the name of a policy file must be printable UTF-8")])
    document = parse_yaml(text, file)
    _refuse_other_kind(document, GatewaySettings, PolicyFile, "gateway.yaml, which -c names, not of a policy")
    return PolicySource(name, document, validate(PolicyFile, document, directory))


def _refuse_other_kind(document: Document, other: type[Section], own: type[Section], words: str) -> None:
    """One problem for a file of the other kind, not one for each of its keys."""
    known, others = set(keys_of(own)), set(keys_of(other))
    strange = [name for name in document.data if name in others - known]
    if strange and not document.data.keys() & (known - others):
        raise ConfigErrors([ConfigError(document.place((strange[0],)), f"is a key of {words}")])


def _read_directory(directory: Path, reader: Reader) -> tuple[Sequence[PolicySource], Sequence[str]]:
    """All `*.yaml` in a directory as one policy, except hidden ones."""
    reader.note(directory)
    # The entries of a mounted ConfigMap point through `..data`, which is swapped as a whole: read one state of it.
    data = directory / "..data"
    root = data.resolve() if data.is_dir() else directory
    names = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
    sources, problems = [], Problems()
    for name in names:
        if name.endswith(".yaml"):
            shown = directory / name
            actual = root / name if (root / name).exists() else shown
            try:
                text = _read(reader, actual, str(shown), shown)
                sources.append(parse_policy(text, str(shown), name, actual.parent))
            except ConfigErrors as refusal:
                problems.extend(refusal)
    problems.raise_if_any()
    return sources, tuple(_doubts(directory, names))


def _doubts(directory: Path, names: Sequence[str]) -> Iterator[str]:
    if not any(name.endswith(".yaml") for name in names):
        yield f"{directory}: has no *.yaml files, everything is denied"
    for name in names:
        if name.endswith((".yml", ".json")) or (directory / name).is_dir():
            yield f"{directory / name}: is not read: a policy is the *.yaml files directly in its directory"


def _read(reader: Reader, path: Path, place: str, shown: Path | None = None) -> str:
    try:
        return reader.read(path, shown)
    except BadValue as refusal:
        named = "" if place == str(shown or path) else f"{shown or path} "
        raise ConfigErrors([ConfigError(place, f"{named}{refusal}")]) from refusal
