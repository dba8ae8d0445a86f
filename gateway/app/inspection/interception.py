"""Makes an interception. Imported only if there is one: with HTTP/2 and `cryptography` it takes 10 MiB and a tenth of a
second."""

from collections.abc import Mapping

from gateway.app.inspection.material import AuthorityMaterial
from gateway.exchange.parts import Parts
from gateway.intercept.authority import CertificateAuthority, read_authority
from gateway.intercept.interception import Interception
from gateway.intercept.minting import Minting
from gateway.intercept.trust import Showable, Trust
from gateway.net.tls.contexts import ClientCertificate
from gateway.settings.compile.inspection import secret_scope
from gateway.settings.gateway import ClientCertificateSettings, InspectionSettings


def read_material(material: AuthorityMaterial) -> CertificateAuthority:
    """Without a check of the dates, which was made when the files were read: a worker that replaces another one serves
    even if the certificate has expired since, as most traffic is not inspected. Reads a key, which takes milliseconds.
    """
    return read_authority(material.certificates, material.key, None)


def showable_of(
    certificates: Mapping[str, ClientCertificate], declared: Mapping[str, ClientCertificateSettings]
) -> Mapping[str, Showable]:
    """By name, each certificate with the destinations and clients for which it was declared."""
    return {name: Showable(each, secret_scope(declared[name])) for name, each in certificates.items()}


def build_interception(
    authority: CertificateAuthority, settings: InspectionSettings, showable: Mapping[str, Showable], parts: Parts
) -> Interception:
    """An interception without any tunnel yet."""
    minting = Minting(authority, settings.leaf_validity, settings.cache, parts.clock)
    return Interception(minting, parts, Trust(showable))
