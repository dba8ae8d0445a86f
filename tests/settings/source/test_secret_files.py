"""What a secret's file may hold, and that no message quotes it."""

from pathlib import Path

import pytest

from gateway.settings.problems import BadValue
from gateway.settings.source.secret_files import LONGEST, read_secret


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"s3cr3t-k", "s3cr3t-k"),
        (b"s3cr3t-k\n", "s3cr3t-k"),
        (b"s3cr3t-k\r\n", "s3cr3t-k"),
        (b"a b\tc d e f", "a b\tc d e f"),
    ],
)
def test_one_line_end_at_the_end_is_no_part_of_it(tmp_path: Path, content: bytes, value: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    secret = read_secret(file, scrub=True)
    assert (secret.reveal(), secret.scrub) == (value, True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cr3t\n\n", "is not one line of printable ASCII without blanks at its ends"),
        (b"s3cr3t\r\nX: y", "is not one line of printable ASCII without blanks at its ends"),
        (b"s3cr3t\x00", "is not one line of printable ASCII without blanks at its ends"),
        (b"s3cr3t\xc3\xa9", "is not one line of printable ASCII without blanks at its ends"),
        (b" s3cr3t", "is not one line of printable ASCII without blanks at its ends"),
        (b"s3cr3t ", "is not one line of printable ASCII without blanks at its ends"),
        (b"s3cr3t", "is too short to scrub: it needs at least 8 characters"),
        (b"s" * (LONGEST + 1), "is larger than 16 KiB"),
    ],
)
def test_what_could_not_stand_in_a_header_is_refused_unquoted(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(BadValue) as refusal:
        read_secret(file, scrub=True)
    assert str(refusal.value) == problem


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadValue) as refusal:
        read_secret(tmp_path / "none", scrub=False)
    assert str(refusal.value) == "cannot be read: No such file or directory"
