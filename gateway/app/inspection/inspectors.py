"""The inspectors that gateway.yaml declares: checked when it is read, made when it is put in force.

Imported only if any is declared: it takes 7 MiB and a tenth of a second.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.intercept.hosted.hosting import Declaration, HostedKind, probe
from gateway.intercept.hosted.kinds import BadInspector, installed_kinds
from gateway.intercept.inspecting.decoding import DecodingBounds
from gateway.intercept.inspecting.inline import InlineKind
from gateway.intercept.inspecting.watch import ExchangeWatch, InspectorPolicy, NamedInspector
from gateway.intercept.shipped.media import Bar, MediaOptions
from gateway.intercept.shipped.patterns import BUILT_IN, BadPattern, Pattern, own_pattern
from gateway.intercept.shipped.secrets import SecretsOptions
from gateway.model.inspection.watching import Watch
from gateway.model.reasons import Reason
from gateway.settings.compile.inspectors import unknown_patterns
from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import Problems, did_you_mean
from gateway.settings.sections.inspectors import BarSettings, InspectorSettings, MediaSettings, SecretsSettings
from gateway.settings.source.places import KeyPath


class _Bad(Exception):
    """What is wrong, and where in the inspector's settings."""

    def __init__(self, path: KeyPath, problem: str) -> None:
        super().__init__(problem)
        self.path = path


def check(settings: GatewaySettings) -> None:
    """Check that each can be made. Those of other distributions are tried in processes of their own. Raises
    `ConfigErrors`."""
    problems = Problems()
    for name, inspector in settings.inspectors.items():
        try:
            _check(name, inspector)
        except _Bad as bad:
            problems.add(settings.document.place(("inspectors", name, *bad.path)), str(bad))
    problems.raise_if_any()


def _check(name: str, inspector: InspectorSettings) -> None:
    if inspector.secrets is not None:
        _secrets(inspector.secrets)
    if inspector.kind is None:
        return
    installed = installed_kinds()
    if inspector.kind not in installed:
        raise _Bad(("kind",), f"no kind {inspector.kind!r} is installed{did_you_mean(inspector.kind, installed)}")
    try:
        probe(_declared(name, inspector, inspector.kind))
    except BadInspector as bad:
        raise _Bad(("options",) if inspector.options else ("kind",), str(bad)) from bad


def _declared(name: str, inspector: InspectorSettings, kind: str) -> Declaration:
    return Declaration(name, kind, inspector.options, inspector.timeout)


def _secrets(settings: SecretsSettings) -> SecretsOptions:
    for index, name in unknown_patterns(settings, BUILT_IN):
        raise _Bad(("secrets", "patterns", index), f"{name!r} is not a known form{did_you_mean(name, BUILT_IN)}")
    known = BUILT_IN.values() if settings.patterns is None else [BUILT_IN[name] for name in settings.patterns]
    return SecretsOptions((*known, *_own_patterns(settings)), blocks=settings.action == "block")


def _own_patterns(settings: SecretsSettings) -> Sequence[Pattern]:
    found = []
    for name, own in settings.own.items():
        try:
            found.append(own_pattern(name, own.pattern, own.starts or (), own.longest))
        except BadPattern as bad:
            raise _Bad(("secrets", "own", name, "pattern"), str(bad)) from bad
    return found


def _media(settings: MediaSettings) -> MediaOptions:
    return MediaOptions(_bar(settings.request), _bar(settings.response))


def _bar(settings: BarSettings) -> Bar:
    only = None if settings.types is None else frozenset(each.lower() for each in settings.types)
    return Bar(only, frozenset(each.lower() for each in settings.deny_types), settings.max_size)


class Made(NamedTuple):
    """An inspector of gateway.yaml, as it was read."""

    settings: InspectorSettings
    policy: InspectorPolicy
    kind: InlineKind | HostedKind


def make(name: str, settings: InspectorSettings) -> Made:
    """From settings that were checked."""
    bounds = DecodingBounds(settings.max_decoded, settings.max_ratio)
    policy = InspectorPolicy(settings.on_error == "allow", settings.unknown_coding == "deny", bounds)
    return Made(settings, policy, _kind(name, settings))


def begin_watch(made: Sequence[tuple[str, Made | None]], ring: Callable[[], None], report: bool) -> Watch:
    """The watch over one exchange by the inspectors named; one that is None (not declared any more) objects to it."""
    inspectors = [NamedInspector(name, each.policy, each.kind.open()) for name, each in made if each]
    watch = ExchangeWatch(inspectors, ring, report)
    for name, each in made:
        if each is None:
            watch.object_to(Reason.INSPECTOR_FAILED, f"{name} is not declared any more")
    return watch


def _kind(name: str, settings: InspectorSettings) -> InlineKind | HostedKind:
    if settings.secrets is not None:
        return InlineKind(_secrets(settings.secrets).make)
    if settings.media is not None:
        return InlineKind(_media(settings.media).make)
    return HostedKind(_declared(name, settings, settings.kind or ""))
