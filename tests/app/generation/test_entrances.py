"""Certificates and keys are read for each listener, and what is wrong is told with file, line and key."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.configuration import Configuration, Sources, load_configuration, load_materials
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame, contents_of, dump
from gateway.app.generation.in_force import InForce
from gateway.app.serving import Serving
from gateway.model.addresses import parse_network
from gateway.net.tls.contexts import BadMaterial
from gateway.serve.services import Entrance
from gateway.settings.load import load_settings
from gateway.settings.problems import ConfigErrors
from gateway.telemetry.ledger import Ledger
from tests.helpers.certificates import Authority, pem

ROOT = Authority("root")


def write(folder: Path, text: str) -> Path:
    ROOT.server("gateway.test").write(folder, "gateway")
    (folder / "ca.pem").write_bytes(pem(ROOT.certificate))
    file = folder / "gateway.yaml"
    file.write_text(f"version: 1\nlisteners:\n{text}")
    return file


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as refusal:
        load_materials(load_settings(file, {}))
    return [str(problem).replace(f"{file.parent}/", "") for problem in refusal.value.problems]


def test_a_listener_has_what_its_settings_say(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "  - {name: plain, bind: ':1'}\n"
        "  - {name: lb, bind: ':2', proxy_protocol: {trusted: [192.0.2.0/24]}}\n"
        "  - {name: tls, bind: ':3', tls: {cert: gateway.crt, key: gateway.key, client_ca: ca.pem}}\n",
    )
    file.write_text(file.read_text().replace("':", "'127.0.0.1:"))
    settings = load_settings(file, {})
    entrances = Entrances(settings, load_materials(settings))
    behind, secure = entrances.at("lb"), entrances.at("tls")
    assert entrances.at("plain") is None
    assert behind is not None
    assert (behind.trusted, behind.tls) == ((parse_network("192.0.2.0/24"),), None)
    assert secure is not None
    assert secure.trusted is None
    assert secure.tls is not None
    assert {file.name for file in settings.files} == {"gateway.yaml", "gateway.crt", "gateway.key", "ca.pem"}


def test_new_certificates_are_taken_over_and_those_of_changed_listeners_wait_with_them(tmp_path: Path) -> None:
    def taken() -> Entrance | None:
        settings = load_settings(file, {})
        entrances.prepare(settings, load_materials(settings))()
        return entrances.at("proxy")

    file = write(tmp_path, "  - tls: {cert: gateway.crt, key: gateway.key}\n")
    settings = load_settings(file, {})
    entrances = Entrances(settings, load_materials(settings))
    first = entrances.at("proxy")
    assert first is not None
    ROOT.server("gateway.test").write(tmp_path, "gateway")
    second = taken()
    assert second != first
    file.write_text(file.read_text() + "    proxy_protocol: {trusted: [192.0.2.1]}\n")
    assert taken() == second


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o650])
def test_a_key_that_others_may_read_or_change_is_not_taken(tmp_path: Path, mode: int) -> None:
    file = write(tmp_path, "  - tls: {cert: gateway.crt, key: gateway.key}\n")
    (tmp_path / "gateway.key").chmod(mode)
    wanted = "a private key needs 0640 or less (chmod 0640)"
    assert problems(file) == [f"gateway.yaml:3: listeners[0].tls.key: gateway.key has mode {mode:04o}: {wanted}"]


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o440, 0o400])
def test_a_key_for_its_owner_and_group_is_taken(tmp_path: Path, mode: int) -> None:
    file = write(tmp_path, "  - tls: {cert: gateway.crt, key: gateway.key}\n")
    (tmp_path / "gateway.key").chmod(mode)
    assert set(load_materials(load_settings(file, {}))) == {"proxy"}


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "  - {name: a, bind: '127.0.0.1:1', tls: {cert: gateway.crt, key: missing.key}}\n"
        "  - {name: b, bind: '127.0.0.1:2', tls: {cert: gateway.crt, key: gateway.key, client_ca: gateway.crt}}\n",
    )
    assert problems(file) == [
        "gateway.yaml:3: listeners[0].tls.key: missing.key cannot be read: No such file or directory",
        "gateway.yaml:4: listeners[1].tls.client_ca: gateway.crt has no CA certificate in it",
    ]


@pytest.mark.parametrize(
    ("listener", "problem"),
    [
        ("tls: {cert: c, key: k, crl: r}", "tls.crl: needs client_ca: without it no client is asked for a certificate"),
        (
            "tls: {cert: c, key: k, client_cert: required}",
            "tls.client_cert: needs client_ca: without it no client is asked for a certificate",
        ),
        ("tls: {cert: c}", "tls.key: is required"),
        ("proxy_protocol: {trusted: []}", "proxy_protocol.trusted: must not be empty"),
        ("proxy_protocol: {}", "proxy_protocol.trusted: is required"),
    ],
)
def test_keys_that_do_not_fit_together_are_told(tmp_path: Path, listener: str, problem: str) -> None:
    file = write(tmp_path, f"  - {{{listener}}}\n")
    with pytest.raises(ConfigErrors) as refusal:
        load_settings(file, {})
    assert [str(each) for each in refusal.value.problems] == [f"{file}:3: listeners[0].{problem}"]


async def test_of_a_generation_that_cannot_be_taken_no_log_stays_open(tmp_path: Path) -> None:
    """It is tried again and again: each time would leave a descriptor and a thread."""
    listener = "  - tls: {cert: gateway.crt, key: gateway.key}\ntelemetry: {access_log: [{path: LOG}]}\n"
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    sources = Sources(write(tmp_path, listener.replace("LOG", "old.log")), tmp_path / "policy.yaml")
    first = load_configuration(sources, {})
    in_force = InForce(frozenset(), Entrances(first.head.settings, first.head.materials))
    serving = Serving(asyncio.get_running_loop(), first.head.settings, [], in_force, Ledger.alone(), lambda *_: True)
    await in_force.take(1, _frames(first))
    write(tmp_path, listener.replace("LOG", "new.log"))
    second = load_configuration(sources, {})
    useless = replace(second.head.materials["proxy"], cert=b"as if no descriptor were left to make a context of it")
    with pytest.raises(BadMaterial):
        await in_force.take(2, _frames(replace(second, head=replace(second.head, materials={"proxy": useless}))))
    assert not [thread for thread in threading.enumerate() if "new.log" in thread.name]
    await serving.end(0.0)


async def _frames(read: Configuration) -> AsyncIterator[Frame]:
    for content in contents_of(read):
        yield dump(content)
