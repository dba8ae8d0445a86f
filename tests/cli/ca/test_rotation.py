"""Making, showing and replacing the authority: nothing is overwritten, nothing is done out of its turn."""

import stat
import time
from pathlib import Path

import pytest
from cryptography import x509

from gateway.cli.ca.files import load_authority
from gateway.cli.ca.rotation import Step, init, next_step, rotate, show
from gateway.intercept.authority import read_certificates
from gateway.model.errors import ConfigError

NOW = time.time()


def made(directory: Path, permitted: tuple[str, ...] = ()) -> tuple[Path, Path]:
    files = directory / "ca.crt", directory / "ca.key"
    init(*files, "our egress", 365, permitted, NOW)
    return files


def test_init_makes_two_files_the_key_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = made(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o644
    assert b"PRIVATE" not in certificate.read_bytes()
    assert "our egress, until " in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.key"]


@pytest.mark.parametrize("there", ["ca.crt", "ca.key"])
def test_init_overwrites_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(ConfigError, match=f"{there}: exists already"):
        made(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_key_is_written_nowhere_else_because_of_a_link(tmp_path: Path) -> None:
    """Whoever put it there would own the place of the key."""
    certificate, key = made(tmp_path)
    (tmp_path / "ca.key.next").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"ca\.key\.next: cannot be read: No such file"):
        rotate(certificate, key, next_step(certificate, key, NOW), 365, NOW)
    key.unlink()
    certificate.unlink()
    key.symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"ca\.key: exists already"):
        made(tmp_path)
    assert not (tmp_path / "theirs").exists()


def test_init_says_where_it_may_not_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        init(tmp_path / "nowhere" / "ca.crt", tmp_path / "nowhere" / "ca.key", "x", 1, (), NOW)


def test_a_key_without_its_certificate_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        init(tmp_path / "nowhere" / "ca.crt", tmp_path / "ca.key", "x", 1, (), NOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "permitted", "message"),
    [
        ("", (), "--name: must have 1 to 64 printable characters, not ''"),
        ("x" * 65, (), f"--name: must have 1 to 64 printable characters, not '{'x' * 65}'"),
        ("a\x1b[1m", (), "--name: must have 1 to 64 printable characters, not 'a"),
        (
            "x",
            ("example.com", "*.example.org"),
            r"--permit: '\*.example.org' is not a domain; example.com includes all",
        ),
    ],
)
def test_init_says_what_it_cannot_put_into_a_certificate(
    tmp_path: Path, name: str, permitted: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        init(tmp_path / "ca.crt", tmp_path / "ca.key", name, 1, permitted, NOW)
    assert not list(tmp_path.iterdir())


def test_a_key_that_no_published_certificate_has_never_signs(tmp_path: Path) -> None:
    certificate, key = made(tmp_path)
    before = certificate.read_bytes(), key.read_bytes()
    rotate(certificate, key, Step.PUBLISH, 365, NOW)
    certificate.write_bytes(before[0])  # as if an older copy had been put back
    with pytest.raises(ConfigError, match="no certificate in the file belongs to the key"):
        rotate(certificate, key, Step.SWITCH, 365, NOW)
    assert key.read_bytes() == before[1]


def test_a_rotation_never_leaves_clients_without_the_signing_certificate(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, permitted=("example.com",))
    published = trusted_at_first = trusted_after(certificate)
    for step in Step:
        rotate(certificate, key, step, 365, NOW)
        signing = load_authority(certificate, key, NOW).certificate
        assert signing in trusted_after(certificate)
        if step is Step.PUBLISH:
            assert signing in trusted_at_first  # who has the old bundle only must not notice
            published = trusted_after(certificate)
        assert signing in published  # nor who has what was published
    assert len(trusted_after(certificate)) == 1
    assert not trusted_after(certificate) & trusted_at_first
    assert next_step(certificate, key, NOW) is Step.PUBLISH


def trusted_after(certificate: Path) -> set[x509.Certificate]:
    return set(read_certificates(certificate.read_bytes()))


def test_a_step_out_of_its_turn_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    certificate, key = made(tmp_path)
    before = certificate.read_bytes(), key.read_bytes()
    for step in (Step.SWITCH, Step.WITHDRAW):
        with pytest.raises(ConfigError, match="no rotation is under way: the next step is --step publish"):
            rotate(certificate, key, step, 365, NOW)
    assert (certificate.read_bytes(), key.read_bytes()) == before
    rotate(certificate, key, Step.PUBLISH, 365, NOW)
    with pytest.raises(ConfigError, match="a rotation is under way: the next step is --step switch"):
        rotate(certificate, key, Step.PUBLISH, 365, NOW)


def test_show_tells_who_signs_and_who_is_only_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = made(tmp_path, permitted=("example.com", "example.org"))
    rotate(certificate, key, Step.PUBLISH, 365, NOW)
    capsys.readouterr()
    show(certificate, key)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("signs: our egress, until ")
    assert second.startswith("trusted: our egress, until ")
    assert ", only for example.com, example.org, SHA-256 " in second  # the confinement went with it


def test_a_rotation_keeps_links_and_replaces_what_they_lead_to(tmp_path: Path) -> None:
    store, links = tmp_path / "store", tmp_path / "links"
    store.mkdir()
    links.mkdir()
    places = made(store)
    names = links / "ca.crt", links / "ca.key"
    for name, place in zip(names, places, strict=True):
        name.symlink_to(place)
    first = load_authority(*places, NOW).certificate
    for step in Step:
        rotate(*names, step, 365, NOW)
    assert [path.is_symlink() for path in names] == [True, True]
    assert load_authority(*places, NOW).certificate != first
    assert stat.S_IMODE(places[1].stat().st_mode) == 0o600
    assert sorted(path.name for path in links.iterdir()) == ["ca.crt", "ca.key"]


def test_a_switch_that_was_interrupted_is_taken_again(tmp_path: Path) -> None:
    files = certificate, key = made(tmp_path)
    rotate(*files, Step.PUBLISH, 365, NOW)
    key.write_bytes((tmp_path / "ca.key.next").read_bytes())
    assert next_step(*files, NOW) is Step.SWITCH
    rotate(*files, Step.SWITCH, 365, NOW)
    rotate(*files, Step.WITHDRAW, 365, NOW)
    assert len(read_certificates(certificate.read_bytes())) == 1
