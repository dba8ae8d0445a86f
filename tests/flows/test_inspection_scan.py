"""A scanner looks at what inspected clients are shown: no protocol, suite, curve or certificate that is weak."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.flows.interception import HOST, inspecting
from tests.helpers.forwarder import Forwarder
from tests.helpers.requirements import require
from tests.helpers.tls_origin import Issuer, TlsOrigin

pytestmark = pytest.mark.slow

NEVER_OFFERED = ("SSLv2", "SSLv3", "TLS1", "TLS1_1")
WEAK_SUITES = tuple(
    f"cipherlist_{name}" for name in ("NULL", "aNULL", "EXPORT", "LOW", "3DES_IDEA", "AVERAGE", "OBSOLETED")
)
LOOKED_AT = ("--protocols", "--std", "--fs")


@pytest.mark.timeout(240)
def test_a_scanner_finds_nothing_weak(tmp_path: Path) -> None:
    program, findings = require("testssl"), tmp_path / "findings.json"
    issuer = Issuer(tmp_path)
    with (
        TlsOrigin(context=issuer.context(HOST)) as origin,
        inspecting(tmp_path, origin, issuer, time.time(), [{"name": "site", "hosts": [HOST]}]) as bed,
        Forwarder(bed.gateway.port, f"{HOST}:{origin.port}") as way,
    ):
        command = [program, "--quiet", "--warnings=off", "--color=0", "--ip=127.0.0.1", f"--jsonfile={findings}"]
        target = [*LOOKED_AT, f"{HOST}:{way.port}"]
        environ = {**os.environ, "HOME": str(tmp_path), "TERM": "dumb"}
        done = subprocess.run([*command, *target], capture_output=True, text=True, env=environ)
    found = {each["id"]: each for each in json.loads(findings.read_text())}
    assert {found[name]["finding"] for name in NEVER_OFFERED} == {"not offered"}, done.stdout
    assert found["TLS1_2"]["finding"] == "offered"
    assert found["TLS1_3"]["finding"].startswith("offered with final")
    weak = [each["finding"] for name, each in found.items() if name in WEAK_SUITES]
    assert len(weak) >= 5
    assert set(weak) == {"not offered"}
    assert any(found[name]["severity"] == "OK" for name in ("FS", "PFS") if name in found)
    bad = {name: each for name, each in found.items() if each["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL")}
    assert bad == {}
