"""The authority's files: read whole, and refused in one line that names the file."""

import time
from pathlib import Path

import pytest

from gateway.cli.ca.files import load_authority
from gateway.intercept.authority import create_authority
from gateway.model.errors import ConfigError

NOW = time.time()


def written(directory: Path, mode: int = 0o600) -> tuple[Path, Path]:
    certificate, key = directory / "ca.crt", directory / "ca.key"
    for path, content in zip((certificate, key), create_authority("egress", NOW), strict=True):
        path.write_bytes(content)
    key.chmod(mode)
    return certificate, key


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_key_for_owner_and_group_is_taken(tmp_path: Path, mode: int) -> None:
    assert load_authority(*written(tmp_path, mode), NOW).published == (tmp_path / "ca.crt").read_bytes()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606, 0o601, 0o660])
def test_a_key_that_others_may_touch_or_the_group_may_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=rf"ca\.key: has mode {mode:04o}: a private key needs 0640 or less"):
        load_authority(*written(tmp_path, mode), NOW)


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    files = written(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=rf"{missing}: cannot be read: No such file"):
        load_authority(*files, NOW)


def test_files_that_do_not_belong_together_are_both_named(tmp_path: Path) -> None:
    certificate, key = written(tmp_path)
    certificate.write_bytes(create_authority("another", NOW)[0])
    with pytest.raises(ConfigError, match=r"ca\.crt, .*ca\.key: no certificate in the file belongs to the key"):
        load_authority(certificate, key, NOW)
