"""The version is that of the installed program, and none is no error."""

import subprocess
import sys

UNINSTALLED = """
import importlib.metadata as metadata
installed = metadata.version

def version(name):
    if name == "egress-gateway":
        raise metadata.PackageNotFoundError(name)
    return installed(name)

metadata.version = version
"""
PRINT = """
from gateway.telemetry.otlp.exporters import resource_of
from gateway.telemetry.otlp.spans import SCOPE
from gateway.telemetry.metrics import Totals, _of_crew

[(labels, _)] = next(iter(_of_crew(Totals(0, 0, 0, 0, 0, 0, {}, 0)))).points
print(labels[0], SCOPE.version, resource_of("here", 7).attributes["service.version"])
"""


def printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_checkout_that_is_not_installed_has_an_unknown_version() -> None:
    assert printed(UNINSTALLED + PRINT) == "unknown unknown unknown\n"


def test_metrics_and_traces_name_the_same_version() -> None:
    [version] = set(printed(PRINT).split())
    assert version[0].isdigit()
