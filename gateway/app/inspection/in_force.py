"""The interception in force.

`making` is imported when the first authority is taken, so that no tunnel waits for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.app.inspection.material import AuthorityMaterial
from gateway.exchange.parts import Parts
from gateway.net.tls.contexts import ClientCertificate
from gateway.settings.gateway import GatewaySettings, InspectionSettings

if TYPE_CHECKING:
    from gateway.intercept.authority import CertificateAuthority
    from gateway.intercept.interception import Interception
    from gateway.intercept.trust import Showable


@dataclass(frozen=True, slots=True)
class InspectionPlan:
    """What an interception is made from."""

    settings: InspectionSettings
    material: AuthorityMaterial
    showable: "Mapping[str, Showable]"
    authority: "CertificateAuthority" = field(compare=False)


def plan_inspection(
    settings: GatewaySettings,
    material: AuthorityMaterial | None,
    certificates: Mapping[str, ClientCertificate],
    former: InspectionPlan | None,
) -> InspectionPlan | None:
    """The former plan if nothing changed, so that certificates minted under it stay in use. Reads a key, which takes
    milliseconds, and the first time a tenth of a second."""
    if settings.inspection is None or material is None:
        return None
    from gateway.app.inspection.interception import read_material, showable_of  # noqa: PLC0415  # it is large: see there

    inputs = settings.inspection, material, showable_of(certificates, settings.client_certificates)
    if former is not None and (former.settings, former.material, former.showable) == inputs:
        return former
    return InspectionPlan(*inputs, read_material(material))


class InterceptionInForce:
    """Rebuilt when the plan changes: leaves, sessions and system certificates of the former one are then dropped."""

    def __init__(self, plan: Callable[[], InspectionPlan | None], parts: Parts) -> None:
        self._plan = plan
        self._parts = parts
        self._planned: InspectionPlan | None = None
        self._interception: Interception | None = None

    def current(self) -> "Interception | None":
        """By the plan that is in force now; None without `inspection`."""
        plan = self._plan()
        if plan is not self._planned:
            self._planned = plan
            self._interception = None if plan is None else self._build(plan)
        return self._interception

    def _build(self, plan: InspectionPlan) -> "Interception":
        from gateway.app.inspection.interception import build_interception  # noqa: PLC0415  # it was loaded with the plan

        return build_interception(plan.authority, plan.settings, plan.showable, self._parts)
