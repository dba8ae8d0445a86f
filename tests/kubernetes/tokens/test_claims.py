"""A token names exactly one service account, or nobody."""

from typing import Any

import pytest

from gateway.kubernetes.tokens.claims import (
    NotAnAccount,
    ServiceAccount,
    account_of_claims,
    account_of_subject,
    account_of_user,
)
from tests.helpers.token_issuer import TokenIssuer

SUBJECT = "system:serviceaccount:payments:api"


def test_a_bound_token_names_its_pod() -> None:
    assert account_of_claims(TokenIssuer().claims()) == ServiceAccount("payments", "api", "api-1")


def test_another_issuers_token_needs_no_more_than_the_subject() -> None:
    assert account_of_claims({"sub": SUBJECT}) == ServiceAccount("payments", "api")


@pytest.mark.parametrize(
    "subject",
    [
        None,
        7,
        "",
        "api",
        "system:serviceaccount:payments",
        "system:serviceaccount:Pay:api",
        f"{SUBJECT}:x",
        f"{SUBJECT}\n",
    ],
)
def test_what_is_no_account_is_refused(subject: object) -> None:
    with pytest.raises(NotAnAccount):
        account_of_subject(subject)


@pytest.mark.parametrize(
    "private",
    [
        {},
        [],
        "x",
        {"namespace": "payments"},
        {"namespace": "payments", "serviceaccount": []},
        {"namespace": "payments", "serviceaccount": {"name": "admin"}},
        {"namespace": "shop", "serviceaccount": {"name": "api"}},
    ],
)
def test_claims_that_contradict_each_other_are_refused(private: Any) -> None:
    with pytest.raises(NotAnAccount):
        account_of_claims({"sub": SUBJECT, "kubernetes.io": private})


def test_a_review_names_the_pod_in_its_extras() -> None:
    extra = {"authentication.kubernetes.io/pod-name": ["api-1"]}
    assert account_of_user({"username": SUBJECT, "extra": extra}) == ServiceAccount("payments", "api", "api-1")
    odd: tuple[object, ...] = (None, {"other": ["x"]}, {"authentication.kubernetes.io/pod-name": []})
    for extras in odd:
        assert account_of_user({"username": SUBJECT, "extra": extras}) == ServiceAccount("payments", "api")
