"""Authorities for Java: all of a bundle, readable by Java itself, and never over a file that is there."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.ca.truststore import write_truststore
from gateway.cli.main import app
from gateway.model.errors import ConfigError
from tests.helpers.authority import TestAuthority
from tests.helpers.requirements import require


def test_java_reads_every_authority_of_the_bundle(tmp_path: Path) -> None:
    bundle, store = tmp_path / "bundle.pem", tmp_path / "store.p12"
    authorities = [TestAuthority(tmp_path).bundle.read_text() for _ in range(3)]
    bundle.write_text("".join(authorities))
    done = CliRunner().invoke(app, ["ca", "truststore", str(bundle), str(store)])
    assert (done.exit_code, done.stdout) == (0, f"{store}: 3 certificates\n")
    listing = [require("keytool"), "-list", "-keystore", str(store), "-storepass", "changeit"]
    listed = subprocess.run(listing, capture_output=True, text=True, timeout=60)
    assert listed.stdout.count("trustedCertEntry") == 3, listed.stdout + listed.stderr
    again = CliRunner().invoke(app, ["ca", "truststore", str(bundle), str(store)])
    assert again.exit_code == 2
    assert "File exists" in again.stderr


def test_an_authority_with_a_strange_serial_number_causes_no_word(tmp_path: Path) -> None:
    """Bundles of systems hold some."""
    bundle, store = tmp_path / "bundle.pem", tmp_path / "store.p12"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=odd -set_serial -1 -days 9"
    made = [require("openssl"), *make.split(), "-keyout", str(tmp_path / "key"), "-out", str(bundle)]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    command = [sys.executable, "-m", "gateway", "ca", "truststore", str(bundle), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{store}: 1 certificate\n", "")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="holds no readable PEM certificate"):
        write_truststore(tmp_path / "x.pem", tmp_path / "out.p12", "changeit")
    assert not (tmp_path / "out.p12").exists()
