import pytest

from tests.helpers.requirements import require

NO_SUCH_PROGRAM = "no-such-program-anywhere"


def test_a_program_that_is_there_is_found() -> None:
    assert require("sh").endswith("/sh")


def test_a_missing_program_fails_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=NO_SUCH_PROGRAM):
        require(NO_SUCH_PROGRAM)


def test_a_missing_program_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=NO_SUCH_PROGRAM):
        require(NO_SUCH_PROGRAM)
