"""`make scan`: checkov on the Dockerfile and on all that the chart renders. Each finding must be answered in
docs/kubernetes.md; what was found stands in findings.txt.

    python -m tests.chart.scan CHECKOV
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chart.rendering import FEATURES, ROOT, template, values_of

FINDINGS = Path(__file__).with_name("findings.txt")
PAGE = ROOT / "docs" / "kubernetes.md"
_ANSWER = re.compile(r"^\| `(CKV2?_[A-Z0-9]+_[0-9]+)` \|", re.MULTILINE)


def findings(checkov: Path) -> Iterator[str]:
    """`CHECK FEATURE RESOURCE` a line."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_bytes((ROOT / "Dockerfile").read_bytes())
        for feature in FEATURES:
            run = template("helm4", *values_of(feature))
            (Path(folder) / f"{feature}.yaml").write_text(run.out)
        command = [str(checkov), "--framework", "kubernetes", "dockerfile", "--directory", folder, "--skip-download"]
        done = subprocess.run(
            [*command, "--quiet", "--compact", "--output", "json"], capture_output=True, text=True, timeout=600
        )
    reports = json.loads(done.stdout)
    for report in reports if isinstance(reports, list) else [reports]:
        summary = report["summary"]
        assert summary["parsing_errors"] == 0
        print(f"{report['check_type']}: {summary['passed']} passed, {summary['failed']} failed")
        for each in report["results"]["failed_checks"]:
            place = Path(each["file_path"]).stem
            yield f"{each['check_id']} {place} {'' if place == 'Dockerfile' else each['resource']}".rstrip()


def recorded() -> set[str]:
    """The checks that had something to say when they were asked last."""
    return {line.split()[0] for line in FINDINGS.read_text().splitlines()}


def answered() -> set[str]:
    """The checks that the page answers."""
    return set(_ANSWER.findall(PAGE.read_text()))


if __name__ == "__main__":
    FINDINGS.write_text("".join(f"{line}\n" for line in sorted(set(findings(Path(sys.argv[1]))))))
    open_ones = sorted(recorded() - answered())
    print("\n".join([*(f"not answered in docs/kubernetes.md: {each}" for each in open_ones), f"written: {FINDINGS}"]))
    sys.exit(1 if open_ones else 0)
