"""The Dockerfile, as far as it can be judged where no engine builds it: what a stage takes, runs and leaves behind."""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch

from tests.chart.rendering import ROOT, containers, pods
from tests.chart.scan import answered, recorded

IMAGE = "${PYTHON_IMAGE}"


@dataclass(frozen=True)
class Stage:
    """`base` is an image or a stage; `steps` are its instructions with their arguments, lines joined."""

    name: str
    base: str
    steps: list[tuple[str, str]]

    def said(self, instruction: str) -> list[str]:
        return [argument for name, argument in self.steps if name == instruction]


def stages() -> dict[str, Stage]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in text.splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            base, _, stage = argument.partition(" AS ")
            current = found[stage] = Stage(stage, base, [])
        elif name and not name.startswith("#") and current is not None:
            current.steps.append((name, " ".join(argument.split())))
    return found


def commands(stage: Stage) -> list[str]:
    return [part.strip() for run in stage.said("RUN") for part in run.split("&&")]


def test_the_stages_are_these_and_the_gateway_is_what_is_built_by_default() -> None:
    assert {name: stage.base for name, stage in stages().items()} == {
        "build": IMAGE, "runtime": IMAGE, "transparent": "runtime", "gateway": "runtime",
    }  # fmt: skip
    assert list(stages())[-1] == "gateway"
    assert stages()["gateway"].steps == []


def test_nothing_is_installed_that_was_not_locked() -> None:
    installs = [each for each in commands(stages()["build"]) if re.search(r"\bpip\b.* (install|wheel) ", each)]
    assert len(installs) == 4
    for each in installs:
        assert "--no-index" in each or ("--require-hashes" in each and "--only-binary=:all:" in each)


def test_what_runs_has_no_build_tool_and_no_pip() -> None:
    runtime = stages()["runtime"]
    assert runtime.said("COPY") == ["--from=build /opt/egress-gateway /opt/egress-gateway"]
    assert commands(runtime)[0].startswith("pip uninstall --yes ")
    assert not [each for each in commands(runtime) if re.search(r"\binstall\b", each)]
    assert "--without-pip" in commands(stages()["build"])[0]
    assert commands(stages()["transparent"])[1].endswith("--no-install-recommends nftables iproute2")


def test_it_is_not_root_and_ends_on_a_signal_that_reaches_the_gateway_itself() -> None:
    runtime = stages()["runtime"]
    assert runtime.said("USER") == ["65532:65532"]
    assert stages()["transparent"].said("USER")[-1] == "65532:65532"
    assert json.loads(runtime.said("ENTRYPOINT")[0]) == ["egress-gateway"]  # no shell between
    assert runtime.said("STOPSIGNAL") == ["SIGTERM"]
    assert all(isinstance(json.loads(each), list) for each in runtime.said("CMD"))


def test_what_is_copied_is_not_kept_away_from_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for copied in stages()["build"].said("COPY"):
        for path in copied.split()[:-1]:
            assert any(fnmatch(path, pattern) for pattern in kept), path
            assert (ROOT / path).exists()


def test_the_chart_runs_the_image_as_it_is_made() -> None:
    """Its user, and the program that is its entry point: `command` is given only by the pod of `helm test`."""
    for feature, workload, pod in pods():
        if feature != "openshift":
            assert pod["securityContext"]["runAsUser"] == 65532
        for container in containers(pod):
            assert ("command" in container) is (workload["kind"] == "Pod")


def test_every_finding_of_the_scanner_is_answered_and_no_answer_is_without_one() -> None:
    """`make scan` asks it anew."""
    assert recorded() == answered()
