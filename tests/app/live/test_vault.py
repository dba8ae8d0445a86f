"""Secrets change under a running process, whatever state the policy's files are in, and stay where they belong."""

import logging
from pathlib import Path

import pytest

from gateway.app.live.vault import Vault, read_secrets
from gateway.model.addresses import Address
from gateway.model.names import HostName
from gateway.settings.gateway import GatewaySettings
from tests.app.policies import write

HOST = HostName("api.test")
STAYS = "its last good value stays in force"
VALUE = "first-value-1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(VALUE)
    return path


def remove(path: Path) -> None:
    path.unlink()


def declared(file: Path, **keys: object) -> GatewaySettings:
    secret = {"file": str(file), "hosts": ["api.test", "*.api.test"], **keys}
    return GatewaySettings.model_validate({"secrets": {"key": secret}}, context={"directory": file.parent})


def vault_of(settings: GatewaySettings) -> Vault:
    vault = Vault()
    vault.take(read_secrets(settings.secrets))
    return vault


def found(vault: Vault, host: HostName | Address = HOST, *groups: str) -> str | None:
    secret = vault.find("key", host, groups)
    return None if secret is None else secret.reveal()


def test_it_gives_a_secret_to_its_hosts_and_clients_alone(file: Path) -> None:
    vault = vault_of(declared(file, clients=["payments"]))
    assert found(vault, HOST, "other", "payments") == VALUE
    assert found(vault, HostName("x.api.test"), "payments") == VALUE
    assert found(vault, HOST, "other") is None
    assert found(vault, HostName("api.test.evil.test"), "payments") is None
    assert found(vault, Address(4, 1), "payments") is None
    assert vault.find("other", HOST, ["payments"]) is None


async def test_a_new_value_is_taken_and_a_bad_one_leaves_the_last(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    vault = vault_of(declared(file))
    files = vault.files
    assert list(files) == [file]
    write(file, "second-value-2\n")
    await vault.read_again()
    assert vault.files != files
    assert found(vault) == "second-value-2"
    write(file, "third\nvalue")
    await vault.read_again()
    assert found(vault) == "second-value-2"
    remove(file)
    await vault.read_again()
    assert found(vault) == "second-value-2"
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "secret key: its new value is in force",
        f"secret key: {file} is not one line of printable ASCII without blanks at its ends: {STAYS}",
        f"secret key: {file} cannot be read: No such file or directory: {STAYS}",
    ]


async def test_without_any_good_value_there_is_none_until_there_is(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remove(file)
    vault = vault_of(declared(file))
    assert found(vault) is None
    assert "requests that need it are refused" in caplog.text
    write(file, VALUE)
    await vault.read_again()
    assert found(vault) == VALUE


async def test_a_value_does_not_outlive_the_file_that_it_came_from(file: Path) -> None:
    vault = vault_of(declared(file))
    vault.take(read_secrets(declared(file.parent / "other").secrets))
    assert found(vault) is None


async def test_settings_that_changed_meanwhile_are_not_overwritten(file: Path) -> None:
    vault = vault_of(declared(file))
    reading = vault.read_again()
    vault.take(read_secrets({}))
    await reading
    assert found(vault) is None


def test_a_value_that_stays_is_scrubbed_from_when_that_is_said(file: Path) -> None:
    vault = vault_of(declared(file))
    remove(file)
    vault.take(read_secrets(declared(file, scrub=True).secrets))
    secret = vault.find("key", HOST, ())
    assert secret is not None
    assert secret.scrub
