"""A search that finds nothing proves something only if it would have found it."""

import base64
import gzip
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.helpers.leaks import Search

VALUE = 'sk+live/"4eC%39 Hq~L='


@pytest.mark.parametrize(
    "said",
    [
        VALUE,
        f"Bearer {VALUE}.",
        json.dumps({"authorization": VALUE}),
        repr([VALUE]),
        quote(VALUE),
        quote(VALUE, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
        quote_plus(VALUE),
        quote(VALUE, safe="+/%= ~"),
        quote(quote(VALUE, safe=""), safe=""),
        VALUE.encode().hex(),
        *[
            base64.b64encode(f"{'x' * before}{VALUE}{after}".encode()).decode()
            for before in range(4)
            for after in ("", "yz")
        ],
        base64.urlsafe_b64encode(f"user:{VALUE}".encode()).decode().rstrip("="),
    ],
)
def test_it_is_found_in_every_form(said: str, tmp_path: Path) -> None:
    search = Search({"key": VALUE, "other": "something else"})
    assert list(search.told_in(f"before {said} behind".encode())) == ["key"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.gz").write_bytes(gzip.compress(said.encode()))
    assert list(search.told_below(tmp_path, [])) == [("folder/a.gz", "key")]
    assert list(search.told_below(tmp_path, [tmp_path / "folder" / "a.gz"])) == []


def test_what_is_not_said_is_not_found() -> None:
    assert list(Search({"key": VALUE}).told_in(b"sk live 4eC39 Bearer")) == []
