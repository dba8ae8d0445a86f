"""What serves inspected tunnels by the settings in force."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.app.inspection.material import AuthorityMaterial
from gateway.exchange.parts import Parts
from gateway.intercept.authority import Authority, read_authority
from gateway.intercept.interception import Interception
from gateway.intercept.minting import Minting
from gateway.settings.gateway import InspectionSettings


@dataclass(frozen=True, slots=True)
class InspectionPlan:
    """All that inspected tunnels are made from."""

    settings: InspectionSettings
    material: AuthorityMaterial
    authority: Authority = field(compare=False)


def plan_inspection(
    settings: InspectionSettings | None, material: AuthorityMaterial | None, former: InspectionPlan | None
) -> InspectionPlan | None:
    """The former one where nothing changed: what it has made stays good. Reads a key, which takes milliseconds."""
    if settings is None or material is None:
        return None
    if former is not None and (former.settings, former.material) == (settings, material):
        return former
    return InspectionPlan(settings, material, read_authority(material.certificates, material.key, time.time()))


class InterceptionInForce:
    """Made anew when the plan changes: leaves, sessions and the system's certificates of before are then forgotten."""

    def __init__(self, plan: Callable[[], InspectionPlan | None], parts: Parts) -> None:
        self._plan = plan
        self._parts = parts
        self._planned: InspectionPlan | None = None
        self._interception: Interception | None = None

    def current(self) -> Interception | None:
        """By the plan that is in force now; None without `inspection`."""
        plan = self._plan()
        if plan is not self._planned:
            self._planned = plan
            self._interception = None if plan is None else self._build(plan)
        return self._interception

    def _build(self, plan: InspectionPlan) -> Interception:
        settings = plan.settings
        minting = Minting(plan.authority, settings.leaf_validity, settings.cache, self._parts.clock)
        return Interception(minting, self._parts)
