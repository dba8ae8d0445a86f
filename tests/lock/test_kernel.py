"""How it is told that the kernel was not told."""

from pathlib import Path

import pytest

from gateway.lock import kernel
from gateway.lock.kernel import KernelRefused, run
from gateway.lock.steps import Step

NFT = Step(("nft", "-f", "-"), "table")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernel, "_BESIDES_PATH", str(tmp_path))
    return tmp_path


def plant(programs: Path, name: str, text: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_missing_program_is_named_with_its_package_before_anything_is_done(programs: Path) -> None:
    plant(programs, "ip", f"echo done > {programs}/trace")
    with pytest.raises(KernelRefused, match="the program nft is missing: install the package nftables"):
        run([Step(("ip", "-4", "rule", "add")), NFT])
    assert not (programs / "trace").exists()


def test_a_missing_privilege_is_named_even_when_taking_away(programs: Path) -> None:
    plant(programs, "ip", "echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2")
    with pytest.raises(KernelRefused, match=r"ip is not permitted to do this: .* CAP_NET_ADMIN"):
        run([Step(("ip", "-4", "rule", "del"), removes=True)])


def test_what_a_program_says_is_passed_on_in_a_few_lines(programs: Path) -> None:
    plant(programs, "nft", "for i in 1 2 3 4 5 6; do echo line $i >&2; done; exit 1")
    with pytest.raises(KernelRefused) as refusal:
        run([NFT])
    assert str(refusal.value) == "nft -f - failed: line 1\nline 2\nline 3\nline 4"


def test_nothing_to_take_away_is_no_failure(programs: Path) -> None:
    plant(programs, "ip", "echo 'No such file or directory' >&2; exit 2")
    run([Step(("ip", "-4", "rule", "del"), removes=True)])


def test_a_program_that_hangs_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(programs, "nft", "exec /bin/sleep 30")
    monkeypatch.setattr(kernel, "_SECONDS", 0.2)
    with pytest.raises(KernelRefused, match="did not end"):
        run([NFT])
