"""Secrets change under a running process, whatever state the policy's files are in, and stay where they belong."""

import logging
from pathlib import Path

import pytest

from gateway.app.live.secrets import SecretsInForce, read_secrets
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


def in_force(settings: GatewaySettings) -> SecretsInForce:
    secrets = SecretsInForce()
    secrets.take(read_secrets(settings.secrets))
    return secrets


def found(secrets: SecretsInForce, host: HostName | Address = HOST, *groups: str) -> str | None:
    secret = secrets.find("key", host, groups)
    return None if secret is None else secret.reveal()


def test_it_gives_a_secret_to_its_hosts_and_clients_alone(file: Path) -> None:
    secrets = in_force(declared(file, clients=["payments"]))
    assert found(secrets, HOST, "other", "payments") == VALUE
    assert found(secrets, HostName("x.api.test"), "payments") == VALUE
    assert found(secrets, HOST, "other") is None
    assert found(secrets, HostName("api.test.evil.test"), "payments") is None
    assert found(secrets, Address(4, 1), "payments") is None
    assert secrets.find("other", HOST, ["payments"]) is None


async def test_a_new_value_is_taken_and_a_bad_one_leaves_the_last(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    secrets = in_force(declared(file))
    files = secrets.files
    assert list(files) == [file]
    write(file, "second-value-2\n")
    await secrets.read_again()
    assert secrets.files != files
    assert found(secrets) == "second-value-2"
    write(file, "third\nvalue")
    await secrets.read_again()
    assert found(secrets) == "second-value-2"
    remove(file)
    await secrets.read_again()
    assert found(secrets) == "second-value-2"
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
    secrets = in_force(declared(file))
    assert found(secrets) is None
    assert "requests that need it are refused" in caplog.text
    write(file, VALUE)
    await secrets.read_again()
    assert found(secrets) == VALUE


async def test_a_file_that_is_usable_again_is_told_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    remove(file)
    secrets = in_force(declared(file))
    write(file, VALUE)
    await secrets.read_again()
    remove(file)
    await secrets.read_again()
    write(file, VALUE)
    for _ in range(2):
        await secrets.read_again()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert told == [f"secret key: {file} is usable now", f"secret key: {file} is usable again"]


async def test_a_value_does_not_outlive_the_file_that_it_came_from(file: Path) -> None:
    secrets = in_force(declared(file))
    secrets.take(read_secrets(declared(file.parent / "other").secrets))
    assert found(secrets) is None


async def test_settings_that_changed_meanwhile_are_not_overwritten(file: Path) -> None:
    secrets = in_force(declared(file))
    reading = secrets.read_again()
    secrets.take(read_secrets({}))
    await reading
    assert found(secrets) is None


def test_a_value_that_stays_is_scrubbed_from_when_that_is_said(file: Path) -> None:
    secrets = in_force(declared(file))
    remove(file)
    secrets.take(read_secrets(declared(file, scrub=True).secrets))
    secret = secrets.find("key", HOST, ())
    assert secret is not None
    assert secret.scrub
