"""Renders the chart as plain YAML, for use without Helm: one file per object, named by its kind and name.

python -m helm.manifests FOLDER --name NAME --namespace NAMESPACE [ARGUMENTS OF helm template]
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "egress-gateway"
HELM = ROOT / "build" / "chart" / "helm4"


class NotRendered(Exception):
    """Helm refused; the text is what it said."""


def render(name: str, namespace: str, arguments: Sequence[str]) -> str:
    """All objects except the pod of `helm test`. Raises `NotRendered`."""
    command = [str(HELM), "template", name, str(CHART), "--namespace", namespace, "--skip-tests", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    if done.returncode != 0:
        raise NotRendered(done.stderr.strip())
    return done.stdout


def files_of(rendered: str) -> Iterator[tuple[str, str]]:
    """Each object's file name and text, with the templates' comments."""
    for document in rendered.split("\n---\n"):
        parsed = yaml.safe_load(document)
        if parsed:
            name = f"{parsed['kind']}-{parsed['metadata']['name']}"
            namespace = parsed["metadata"].get("namespace", "")
            text = document.removeprefix("---\n").strip()
            yield f"{name}{'.' * bool(namespace)}{namespace}.yaml".lower(), f"{text}\n"


def write(folder: Path, rendered: str) -> int:
    """Replace the folder by these files; returns their number."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = dict(files_of(rendered))
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return len(written)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(
        description="Render the chart as plain YAML. Other options are passed on to `helm template`."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--namespace", required=True)
    given, arguments = parser.parse_known_args()
    try:
        count = write(given.folder, render(given.name, given.namespace, arguments))
    except NotRendered as refusal:
        sys.exit(str(refusal))
    sys.stdout.write(f"{given.folder}: {count} files; kubectl apply --filename {given.folder}\n")


if __name__ == "__main__":
    main()
