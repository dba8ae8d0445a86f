"""The owner of a service account token, by the claims of a verified token.

`sub` is `system:serviceaccount:NAMESPACE:NAME`; the claim `kubernetes.io` says the same and names the pod that the
token was made for (Kubernetes, "Schema for service account private claims").
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})", re.ASCII)
_POD_NAME = "authentication.kubernetes.io/pod-name"


class ServiceAccount(NamedTuple):
    """The owner of a token. `pod` is a name, None for a token that is not bound to a pod."""

    namespace: str
    name: str
    pod: str | None = None


class NotAnAccount(ValueError):
    """The claims are not a service account's, or contradict each other."""


def account_of_subject(subject: object, pod: object = None) -> ServiceAccount:
    """From `sub`, or from the user name of a TokenReview. Raises `NotAnAccount`."""
    match = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    if match is None:
        raise NotAnAccount("the subject is not a service account")
    return ServiceAccount(match[1], match[2], pod if isinstance(pod, str) and pod else None)


def account_of_claims(claims: Mapping[str, Any]) -> ServiceAccount:
    """From the claims of a verified token. Raises `NotAnAccount`."""
    private = claims.get("kubernetes.io")
    if private is None:
        return account_of_subject(claims.get("sub"))
    account = account_of_subject(claims.get("sub"), _name_in(private, "pod"))
    namespace = private.get("namespace") if isinstance(private, dict) else None
    if (namespace, _name_in(private, "serviceaccount")) != (account.namespace, account.name):
        raise NotAnAccount("the subject and kubernetes.io name different accounts")
    return account


def account_of_user(user: Mapping[str, Any]) -> ServiceAccount:
    """From `status.user` of a TokenReview. Raises `NotAnAccount`."""
    extra = user.get("extra")
    pods = extra.get(_POD_NAME) if isinstance(extra, dict) else None
    return account_of_subject(user.get("username"), pods[0] if isinstance(pods, list) and pods else None)


def _name_in(private: object, part: str) -> object:
    inner = private.get(part) if isinstance(private, dict) else None
    return inner.get("name") if isinstance(inner, dict) else None
