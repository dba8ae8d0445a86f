"""What serves inspected tunnels by the settings in force."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.app.inspection.material import AuthorityMaterial
from gateway.exchange.parts import Parts
from gateway.intercept.authority import Authority, read_authority
from gateway.intercept.interception import Interception
from gateway.intercept.minting import Minting
from gateway.intercept.trust import Showable, Trust
from gateway.net.tls.contexts import ClientCertificate
from gateway.settings.compile.inspection import secret_scope
from gateway.settings.gateway import GatewaySettings, InspectionSettings


@dataclass(frozen=True, slots=True)
class InspectionPlan:
    """All that inspected tunnels are made from."""

    settings: InspectionSettings
    material: AuthorityMaterial
    showable: Mapping[str, Showable]
    authority: Authority = field(compare=False)


def plan_inspection(
    settings: GatewaySettings,
    material: AuthorityMaterial | None,
    certificates: Mapping[str, ClientCertificate],
    former: InspectionPlan | None,
) -> InspectionPlan | None:
    """The former one where nothing changed: what it has made stays good. Reads a key, which takes milliseconds."""
    if settings.inspection is None or material is None:
        return None
    declared = settings.client_certificates
    showable = {name: Showable(each, secret_scope(declared[name])) for name, each in certificates.items()}
    inputs = settings.inspection, material, showable
    if former is not None and (former.settings, former.material, former.showable) == inputs:
        return former
    return InspectionPlan(*inputs, read_authority(material.certificates, material.key, time.time()))


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
        return Interception(minting, self._parts, Trust(plan.showable))
