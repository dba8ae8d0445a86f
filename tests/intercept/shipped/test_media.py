"""Media types and sizes, by heads and by what comes."""

import pytest

from gateway.intercept.inspectors import ALLOW, DONE, Answer, RequestHead, ResponseHead
from gateway.intercept.shipped.media import Bar, MediaOptions

JSON_ONLY = Bar(only=frozenset({"application/json", "image/*"}), never=frozenset({"image/svg+xml"}), size=100)


def asked(*fields: tuple[str, str]) -> RequestHead:
    return RequestHead("POST", "https", "api.test", 443, "/", fields)


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ([("Content-Type", "application/json")], True),
        ([("content-type", "Application/JSON; charset=utf-8")], True),
        ([("Content-Type", "image/png")], True),
        ([("Content-Type", "image/svg+xml")], False),
        ([("Content-Type", "text/plain")], False),
        ([("Content-Type", "application/json"), ("Content-Type", "text/plain")], False),
        ([("Content-Type", "image/png, text/plain")], False),
        ([("Content-Type", "image/png; a=b, image/svg+xml")], False),
        ([("Content_Type", "text/plain")], False),
        ([("Content-Type", "")], False),
        ([("Content-Type", "application/json"), ("Content-Length", "100")], True),
        ([("Content-Type", "application/json"), ("Content-Length", "101")], False),
    ],
)
def test_a_head_is_judged_by_what_it_says(fields: list[tuple[str, str]], passes: bool) -> None:
    answer = MediaOptions(request=JSON_ONLY).make().request_head(asked(*fields))
    assert (answer.denial is None) is passes


def test_content_without_a_type_is_refused_only_if_there_is_any() -> None:
    media = MediaOptions(request=JSON_ONLY).make()
    assert media.request_head(asked()).denial is None
    assert media.request_chunk(b"x").denial == "media type not told"


def test_what_has_a_length_and_no_coding_is_not_looked_at_further() -> None:
    media = MediaOptions(request=JSON_ONLY).make()
    assert media.request_head(asked(("Content-Type", "image/png"), ("Content-Length", "9"))) == DONE


def test_what_is_coded_is_counted_decoded() -> None:
    media = MediaOptions(response=Bar(size=100)).make()
    assert media.response_head(ResponseHead(200, (("Content-Length", "9"), ("Content-Encoding", "br")))) == ALLOW
    assert media.response_chunk(b"x" * 100) == ALLOW
    assert media.response_chunk(b"x") == Answer(denial="more than 100 bytes")


def test_a_bar_that_says_nothing_lets_everything_pass_unread() -> None:
    assert MediaOptions().make().request_head(asked()) == DONE
