"""Inspectors of gateway.yaml: what is wrong with one has its place, and what did not change goes on."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.app.inspection.inspectors_in_force import InspectorsInForce, check_inspectors
from gateway.model.inspection.watching import RequestHead
from gateway.model.reasons import Reason
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings
from gateway.settings.problems import ConfigErrors
from tests.flows.inspectors import install_kinds
from tests.settings.texts import write


def problems(folder: Path, text: str) -> list[str]:
    """Without the name of the file."""
    file = write(folder, "gateway.yaml", text)
    try:
        check_inspectors(load_settings(file, {}))
    except ConfigErrors as refusal:
        return [str(problem).removeprefix(f"{file}:") for problem in refusal.problems]
    return []


def settings_of(inspectors: Mapping[str, Any]) -> GatewaySettings:
    return GatewaySettings.model_validate({"inspectors": inspectors}, context={"directory": Path()})


@pytest.mark.parametrize(
    ("inspector", "problem"),
    [
        ("{}", "a: has no kind: an inspector has exactly one of secrets, media, kind"),
        ("{secrets: {}, media: {}}", "a: has secrets and media: an inspector has exactly one of secrets, media, kind"),
        ("{secrets: {}, options: {x: 1}}", "a.options: is only for kind"),
        ("{secrets: {patterns: []}}", "a.secrets.patterns: looks for nothing"),
        ("{secrets: {patterns: [jwt, gitub-token]}}", "a.secrets.patterns[1]: 'gitub-token' is not a known form"),
        ('{secrets: {own: {mine: {pattern: "a("}}}}', "a.secrets.own.mine.pattern: missing )"),
        ("{secrets: {own: {mine: {pattern: x, longest: 5KiB}}}}", "a.secrets.own.mine.longest: is more than 4KiB"),
        ("{media: {request: {types: [json]}}}", 'a.media.request.types[0]: "json" is not type/subtype'),
        ("{media: {response: {deny_types: ['*/*']}}}", 'a.media.response.deny_types[0]: "*/*" is not type/subtype'),
        ("{secrets: {}, on_error: shrug}", "a.on_error: must be 'deny' or 'allow'"),
        ("{kind: draft}", "a.kind: no kind 'draft' is installed, did you mean 'drafts'?"),
        ("{kind: drafts, options: {marker: 7}}", "a.options: marker must be a text of two characters or more"),
    ],
)
def test_what_is_wrong_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspector: str, problem: str
) -> None:
    kinds = str(install_kinds(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", kinds)
    monkeypatch.syspath_prepend(kinds)
    [found] = problems(tmp_path, f"inspectors:\n  a: {inspector}\n")
    assert found.startswith(f"2: inspectors.{problem}")


def test_what_is_right_passes(tmp_path: Path) -> None:
    text = """
        inspectors:
          keys: {secrets: {own: {acme: {pattern: "acme_[0-9]{8}", starts: [acme_]}}}}
          types: {media: {request: {types: [application/json, "image/*"], max_size: 1MiB}}}
        """
    assert problems(tmp_path, text) == []


async def test_an_inspector_that_is_not_declared_any_more_refuses_everything() -> None:
    inspectors = InspectorsInForce()
    inspectors.prepare(settings_of({"keys": {"secrets": {}}}))()
    assert inspectors.watch(["keys"], lambda: None, report=False).objection is None
    inspectors.prepare(settings_of({}))()
    watch = inspectors.watch(["keys"], lambda: None, report=False)
    assert watch.objection is not None
    assert watch.objection == (Reason.INSPECTOR_FAILED, "keys is not declared any more")
    await watch.judge_request(RequestHead("GET", "https", "a.test", 443, "/", ()))
    watch.up.finish()
    assert not watch.up.has_ended


async def test_a_reload_changes_what_exchanges_are_looked_at_by_and_leaves_those_that_last() -> None:
    inspectors = InspectorsInForce()
    inspectors.prepare(settings_of({"keys": {"secrets": {}}}))()
    head = RequestHead("POST", "https", "a.test", 443, "/", ())
    before = inspectors.watch(["keys"], lambda: None, report=False)
    await before.judge_request(head)
    inspectors.prepare(settings_of({"keys": {"media": {"request": {"max_size": "3B"}}}}))()
    after = inspectors.watch(["keys"], lambda: None, report=False)
    await after.judge_request(head)
    for watch in (before, after):
        watch.up.feed(b"four")
    assert before.objection is None
    assert after.objection == (Reason.INSPECTOR_DENIED, "keys: more than 3 bytes")


def test_who_declares_none_does_not_load_what_they_need() -> None:
    program = (
        "import sys, gateway.app.configuration, gateway.app.serving;"
        "sys.exit(' '.join({'re2', 'brotli', 'gateway.app.inspection.inspectors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
