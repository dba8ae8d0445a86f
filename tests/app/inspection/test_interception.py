"""What inspected tunnels are served with, in whichever process serves."""

from gateway.app.inspection.interception import read_material
from gateway.app.inspection.material import AuthorityMaterial
from gateway.intercept.authority import create_authority

LONG_AGO = 1_000_000_000.0


def test_a_worker_takes_over_what_was_valid_when_it_was_loaded_also_after_its_end() -> None:
    certificate, key = create_authority("over", LONG_AGO, days=1)
    assert read_material(AuthorityMaterial(certificate, key)).not_after == LONG_AGO + 86_400
