"""Who may do what, as a table."""

from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from gateway.admin.access import Access, TokenFile, access_of, is_loopback
from gateway.model.errors import ConfigError

TOKEN = "correct-horse-battery"


@pytest.fixture
def token_path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def request(peer: str, *headers: tuple[str, str]) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return HTTPConnection({"type": "http", "headers": raw, "client": (peer, 40000)})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9128", "localhost", "LocalHost:80", "[::1]", "[::1]:9128"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_under_its_own_name_may_read_without_a_token(peer: str, host: str) -> None:
    assert access_of(request(peer, ("Host", host)), None) is Access.READ


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.1", [("Host", "localhost")]),
        ("2001:db8::1", [("Host", "[::1]")]),
        ("fe80::1%eth0", [("Host", "[::1]")]),
        ("127.0.0.1", [("Host", "rebound.attacker.test")]),
        ("127.0.0.1", [("Host", "localhost.attacker.test")]),
        ("127.0.0.1", [("Host", "127.0.0.1.attacker.test")]),
        ("127.0.0.1", [("Host", "127.0.0.1:port")]),
        ("127.0.0.1", []),
        ("127.0.0.1", [("Host", "localhost"), ("Host", "attacker.test")]),
        ("127.0.0.1", [("Host", "localhost"), ("Authorization", "Bearer guess")]),
        ("10.0.0.1", [("Host", "localhost"), ("X-Forwarded-For", "127.0.0.1")]),
    ],
)
def test_others_need_the_token(peer: str, headers: list[tuple[str, str]]) -> None:
    assert access_of(request(peer, *headers), None) is Access.NONE


@pytest.mark.parametrize(
    ("authorization", "access"),
    [
        ([f"Bearer {TOKEN}"], Access.CHANGE),
        ([f"bearer  {TOKEN}"], Access.CHANGE),
        ([f"Bearer {TOKEN}x"], Access.NONE),
        ([f"Bearer {TOKEN[:-1]}"], Access.NONE),
        (["Bearer "], Access.NONE),
        (["Bearer \xff"], Access.NONE),
        ([f"Basic {TOKEN}"], Access.NONE),
        ([TOKEN], Access.NONE),
        ([f"Bearer {TOKEN}", f"Bearer {TOKEN}"], Access.NONE),
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.1"])
def test_a_token_that_is_shown_must_be_right_wherever_it_comes_from(
    token_path: Path, peer: str, authorization: list[str], access: Access
) -> None:
    headers = [("Host", "localhost"), *(("Authorization", value) for value in authorization)]
    assert access_of(request(peer, *headers), TokenFile(token_path)) is access


def test_the_token_is_read_again_when_its_file_changes(token_path: Path) -> None:
    token = TokenFile(token_path)
    assert token.matches(TOKEN)
    token_path.write_text("another-one")
    assert not token.matches(TOKEN)
    assert token.matches("another-one")


def test_the_token_follows_a_symbolic_link_that_is_swapped(tmp_path: Path) -> None:
    for name in ("first", "other"):
        (tmp_path / name).write_text(f"token-{name}")
    link = tmp_path / "token"
    link.symlink_to("first")
    token = TokenFile(link)
    (tmp_path / "swap").symlink_to("other")
    (tmp_path / "swap").replace(link)
    assert (token.matches("token-first"), token.matches("token-other")) == (False, True)


def test_while_the_file_is_gone_or_empty_nothing_is_the_token(token_path: Path) -> None:
    token = TokenFile(token_path)
    token_path.unlink()
    assert not token.matches(TOKEN)
    token_path.write_text("")
    assert not token.matches("")
    token_path.write_text(TOKEN)
    assert token.matches(TOKEN)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_file_without_a_token_is_an_error_at_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"admin\.token_file"):
        TokenFile(path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.255.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("128.0.0.1", False), ("", False)],
)
def test_loopback_is_127_and_1(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
