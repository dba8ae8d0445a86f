"""The inspectors in force."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.model.inspection.watching import Watch
from gateway.settings.gateway import GatewaySettings
from gateway.settings.sections.inspectors import InspectorSettings

if TYPE_CHECKING:
    from gateway.app.inspection.inspectors import Made


class InspectorsInForce:
    """Fulfils `Watchers` and `followers.Follower`. An inspector that did not change keeps its process."""

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}

    def watch(self, names: Sequence[str], ring: Callable[[], None], report: bool) -> Watch:
        """See `Watchers`."""
        from gateway.app.inspection.inspectors import begin_watch  # noqa: PLC0415  # it was loaded with the first

        return begin_watch([(name, self._made.get(name)) for name in names], ring, report)

    def prepare(self, settings: GatewaySettings) -> Callable[[], None]:
        """See `Follower`."""
        fresh = {name: self._make(name, inspector) for name, inspector in settings.inspectors.items()}
        return lambda: self._take(fresh)

    def close(self) -> None:
        """End every process."""
        self._take({})

    def _make(self, name: str, settings: InspectorSettings) -> "Made":
        from gateway.app.inspection.inspectors import make  # noqa: PLC0415  # it is large: see there

        former = self._made.get(name)
        return former if former is not None and former.settings == settings else make(name, settings)

    def _take(self, fresh: Mapping[str, "Made"]) -> None:
        former, self._made = self._made, dict(fresh)
        staying = {id(each.kind) for each in fresh.values()}
        for each in former.values():
            if id(each.kind) not in staying:
                each.kind.retire()
        for each in fresh.values():
            each.kind.start()


def check_inspectors(settings: GatewaySettings) -> None:
    """See `inspectors.check`, which is imported only if any is declared. Raises `ConfigErrors`."""
    if settings.inspectors:
        from gateway.app.inspection.inspectors import check  # noqa: PLC0415  # it is large: see there

        check(settings)
