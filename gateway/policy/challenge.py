"""Whether asking for credentials could help a client that sent none (`challenge: auto`)."""

from collections.abc import Iterator, Set
from itertools import chain, islice

from gateway.model.client import Client, IdentitySource
from gateway.model.decision import Permit
from gateway.model.intent import Intent
from gateway.policy.candidates import Question
from gateway.policy.decide import decide_for, judge, namespace_of
from gateway.policy.groups import Membership
from gateway.policy.index import Rules

BY_CREDENTIALS = frozenset({IdentitySource.BASIC, IdentitySource.TOKEN})
"""What identifies a client that sent some after it was asked."""

WITHOUT_CREDENTIALS = (IdentitySource.ADDRESS, IdentitySource.KUBERNETES)
"""What identifies a client that sent none."""


def would_credentials_help(
    client: Client, intent: Intent, rules: Rules, now: float, asked: Set[IdentitySource] = BY_CREDENTIALS
) -> bool:
    """Whether nothing allows the client as it is, but something would if it proved to be in some group, by what is in
    use of `BY_CREDENTIALS`. `now` is Unix time in seconds."""
    if client.source not in WITHOUT_CREDENTIALS:
        return False
    as_it_is = decide_for(rules.groups.membership_of(client), namespace_of(client), intent, rules, now)
    if isinstance(as_it_is, Permit):
        return False
    index = rules.groups
    anonymous = index.membership_at(client.address)
    question = Question(anonymous, None, intent.authority.host, intent.authority.port, now)
    deny = judge(question, rules, intent.original).deny
    named = _groups_named(question, rules)
    others = index.provable_in_report_mode - named
    if deny is not None and not deny.excepted_clients:
        named &= index.provable_in_report_mode
    as_pod = index.membership_of(client._replace(known=True))

    def if_proved(groups: set[str], at_most: int | None = None) -> Iterator[Membership]:
        """A user keeps what the pod at the address tells, and the doubts about it; a token speaks for itself."""
        by_user = groups if IdentitySource.BASIC in asked else ()
        users = (index.joined(as_pod, each) for each in by_user if index.is_proved_by_user(client.address, each))
        by_token = groups if IdentitySource.TOKEN in asked else ()
        tokens = (index.joined(anonymous, each) for each in by_token if index.is_proved_by_token(client.address, each))
        return chain(islice(users, at_most), islice(tokens, at_most))

    return any(
        isinstance(decide_for(membership, None, intent, rules, now), Permit)
        for membership in chain(if_proved(others, 1), if_proved(named))  # the others differ by their mode alone
    )


def _groups_named(question: Question, rules: Rules) -> set[str]:
    """The groups that the rules for this destination name."""
    destinations = rules.platform.find(question.host)
    candidates = [each for one in destinations for each in (one.allows, one.denies) if each is not None]
    return {group for each in candidates for group in each.groups_named(question)}
