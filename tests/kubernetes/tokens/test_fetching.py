"""Keys come from where the settings say, over TLS that is checked, and within a bound."""

from pathlib import Path

import pytest

from gateway.kubernetes.tokens import fetching
from gateway.kubernetes.tokens.fetching import from_api, from_file, from_url
from gateway.kubernetes.tokens.keys import KeysUnavailable
from tests.helpers.authority import TestAuthority
from tests.helpers.file_origin import FileOrigin
from tests.kubernetes.cluster import Cluster


async def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    fetch = from_file(file)
    with pytest.raises(KeysUnavailable, match=r"jwks\.json: No such file"):
        await fetch()
    for text in (b"one", b"two"):
        file.write_bytes(text)
        assert await fetch() == text


async def test_the_api_servers_own_keys_are_had_with_our_token(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.api.jwks = b'{"keys":[]}'
    with cluster.api:
        server = cluster.client()
        assert await from_api(server)() == b'{"keys":[]}'
        cluster.token_file.write_text("wrong")
        with pytest.raises(KeysUnavailable, match="Unauthorized"):
            await from_api(server)()
        await server.close()


async def test_an_address_is_asked_over_tls_that_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    site = tmp_path / "site"
    site.mkdir()
    (site / "jwks").write_bytes(b"keys")
    authority = TestAuthority(tmp_path)
    with FileOrigin(site, authority.server_context("localhost")) as origin:
        url = f"https://localhost:{origin.port}"
        assert await from_url(f"{url}/jwks", authority.bundle)() == b"keys"
        with pytest.raises(KeysUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await from_url(f"{url}/jwks", None)()
        with pytest.raises(KeysUnavailable, match="status 404"):
            await from_url(f"{url}/none", authority.bundle)()
        monkeypatch.setattr(fetching, "MAX_BYTES", 3)
        with pytest.raises(KeysUnavailable, match="more than 3 bytes"):
            await from_url(f"{url}/jwks", authority.bundle)()
