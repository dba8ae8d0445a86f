"""A secret shows itself to nobody who does not ask for it by name."""

import copy
import dataclasses
import json
import pickle
import traceback

import pytest

from gateway.model.inspection.secret import Secret
from gateway.model.inspection.terms import HeaderValue, Inspection, SecretName, comparable_name

VALUE = "sk_live_4eC39HqLyjWDarjtT1"


@dataclasses.dataclass
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "shown",
    [repr, str, "{}".format, "{0:>40}".format, "{0!r}".format, "%s".__mod__, ascii, lambda it: repr(Holder(it))],
)
def test_no_way_of_showing_it_shows_it(shown: object) -> None:
    text = shown(Secret(VALUE))  # type: ignore[operator]  # a list of functions of one argument
    assert VALUE not in text
    assert "Secret(...)" in text


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, dataclasses.asdict])
def test_it_cannot_be_copied_or_written_away(way: object) -> None:
    with pytest.raises(TypeError) as refusal:
        way(Holder(Secret(VALUE)) if way is not copy.copy else Secret(VALUE))  # type: ignore[operator]  # as above
    assert VALUE not in "".join(traceback.format_exception(refusal.value))


def test_only_the_one_word_gives_it_away() -> None:
    assert Secret(VALUE).reveal() == VALUE
    assert not hasattr(Secret(VALUE), "__dict__")


def test_an_inspection_names_each_secret_once() -> None:
    bearer = HeaderValue("Authorization", ("Bearer ", SecretName("key")))
    both = HeaderValue("X-Both", (SecretName("other"), "-", SecretName("key")))
    assert Inspection(set=(bearer, both, HeaderValue("X-Plain", ("1",)))).secrets == ("key", "other")


def test_spellings_that_some_servers_read_alike_compare_alike() -> None:
    assert comparable_name("X_Api-KEY") == comparable_name("x-api_key") == comparable_name("X.Api+Key") == "x-api-key"
