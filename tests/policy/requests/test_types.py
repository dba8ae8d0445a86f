"""Which types a message says that it has."""

import pytest

from gateway.policy.requests.types import media_types
from tests.helpers.costs import cpu_seconds


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([], []),
        ([""], [""]),
        (["Text/Plain"], ["text/plain"]),
        (["application/json ; charset=utf-8;"], ["application/json"]),
        (["a/b", "c/d; x"], ["a/b", "c/d"]),
        (["a/b, C/D"], ["a/b", "c/d"]),
        (["a/b; x=1,\tc/d"], ["a/b", "c/d"]),
        (['multipart/form-data; boundary="a, \\" b"'], ["multipart/form-data"]),
        (["multipart/mixed; boundary=----=_Part/1:2"], ["multipart/mixed"]),
        (['a/b; x="1,2", c/d'], ["a/b", "c/d"]),
        (['a/b; x=", c/d'], ["a/b", "c/d"]),
        (['a/b; x="\\", c/d'], ["a/b", "c/d"]),
    ],
)
def test_all_that_some_recipient_would_take_are_named(values: list[str], types: list[str]) -> None:
    assert media_types(values) == types


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\"', '",', ',"a"'])
def test_time_grows_with_the_text_and_not_with_its_quotes(piece: str) -> None:
    text = "a/b;," + piece * (64 * 1024 // len(piece))
    assert cpu_seconds(lambda: media_types([text])) < 1
