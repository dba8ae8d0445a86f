"""An ACL of Smokescreen means the same once it was imported, read beside it as its README and its code decide."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.findings import Effect, Unreadable
from gateway.migrate.reading import read_documents
from gateway.migrate.sets import ports
from gateway.migrate.sources.smokescreen import Choices, read_smokescreen
from tests.migrate.judging import EXAMPLES, LOOK, NOT_BROKEN, Gate, gate, is_caught
from tests.policy.builders import client

NAMES = ("example.test", "a.example.test", "b.a.example.test", "other.test", "x.other.test", "notexample.test")
ENTRIES = (*NAMES, "*.example.test", "*.a.example.test", "*.other.test")
LITERAL = "93.184.216.34"
ROLES = ("one", "two", "three")

Acl = dict[str, Any]


def service(name: str) -> st.SearchStrategy[Acl]:
    action = st.sampled_from(["enforce", "report", "open"])
    domains = st.lists(st.sampled_from(ENTRIES), max_size=3, unique=True)
    return st.builds(lambda a, d: {"name": name, "project": "p", "action": a, "allowed_domains": d}, action, domains)


LISTS = st.lists(st.sampled_from(ENTRIES), max_size=2, unique=True)
ACLS: st.SearchStrategy[Acl] = st.builds(
    lambda services, default, allow, deny: {
        "version": "v1",
        "services": services,
        "default": default,
        "global_allow_list": allow,
        "global_deny_list": deny,
    },
    st.tuples(service("one"), service("two")).flatmap(lambda both: st.sampled_from([[], list(both[:1]), list(both)])),
    st.none() | service("default"),
    LISTS,
    LISTS,
)


def covers(entry: str, host: str) -> bool:
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def naive(acl: Acl, role: str, host: str) -> bool:
    """The decision order of `acl.go`."""
    rule = next((each for each in acl["services"] if each["name"] == role), acl["default"])
    if rule is None:
        return False
    if any(covers(entry, host) for entry in rule["allowed_domains"]):
        return True
    if any(covers(entry, host) for entry in acl["global_deny_list"]):
        return False
    if any(covers(entry, host) for entry in acl["global_allow_list"]):
        return True
    return bool(rule["action"] in ("open", "report"))


def imported(acl: Acl, breaks: Callable[[str], str] = NOT_BROKEN) -> Gate:
    [document] = read_documents(json.dumps(acl), "acl.yaml")
    return gate(read_smokescreen(document, Choices()), breaks)


def disagreements(acl: Acl, breaks: Callable[[str], str] = NOT_BROKEN) -> list[tuple[str, str]]:
    ours = imported(acl, breaks)
    asked = [(role, host) for role in ROLES for host in (*NAMES, LITERAL)]
    return [
        (role, host)
        for role, host in asked
        if (ours.decides(f"{host}:8443", client(user=role)) is not None) != naive(acl, role, host)
    ]


@given(ACLS)
@LOOK
def test_an_imported_acl_decides_as_smokescreen_would(acl: Acl) -> None:
    assert disagreements(acl) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda text: text.replace('"*.', '".'),  # the apex too
        lambda text: text.replace("mode: enforce\n    hosts", "hosts"),  # global denies set aside in report mode
        lambda text: text.replace("    except:\n      hosts:", "    note: x\n    #"),  # denies beat a role's own list
    ],
    ids=["apex", "mode", "order"],
)
def test_the_comparison_catches_a_planted_fault(fault: Callable[[str], str]) -> None:
    assert is_caught(ACLS, lambda acl: disagreements(acl, fault) != [])


def test_the_example_is_imported_with_what_it_loses_told() -> None:
    [document] = read_documents((EXAMPLES / "smokescreen.yaml").read_text(), "acl.yaml")
    ours = gate(read_smokescreen(document, Choices(ports(443))))
    billing, scraper = client(user="billing"), client(user="scraper")
    assert ours.passes("api.example.com:443", billing)
    assert not ours.passes("api.example.com:8443", billing)
    assert not ours.passes("example.net:443", billing)
    assert ours.passes("ok.tracker.test:443", billing)
    assert not ours.passes("ok.tracker.test:443", scraper)
    assert not ours.passes("[2606:2800::1]:443", scraper)
    assert ours.passes("packages.example.com:443")
    assert not ours.passes("packages.example.com:443", billing)
    [inspection, special] = ours.texts(Effect.LEFT_OUT)
    assert "--inspect" in inspection
    assert special.startswith("192.0.2.10")
    assert ours.texts(Effect.WIDER) == []
    assert list(ours.imported.findings.wildcards.values()) == [
        "every name below example.net at any depth, not example.net itself",
        "every name below tracker.test at any depth, not tracker.test itself",
    ]


def test_what_is_intercepted_is_inspected_where_that_is_wanted() -> None:
    [document] = read_documents((EXAMPLES / "smokescreen.yaml").read_text(), "acl.yaml")
    permit = gate(read_smokescreen(document, Choices(ports(443), inspect=True))).decides(
        "api.example.com:443", client(user="billing")
    )
    assert permit is not None
    assert permit.terms.inspection is not None
    assert [value.name for value in permit.terms.inspection.set] == ["X-Team"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: v2\nservices: []\n", "acl.yaml:1: is no Smokescreen ACL, which begins with `version: v1`"),
        (
            "acl_file: x.yaml\n",
            "acl.yaml:1: is no Smokescreen ACL, which begins with `version: v1`; import the file that its",
        ),
        ("version: v1\nservices: [{name: '', action: open}]\n", "acl.yaml:2: a service without a name"),
        ("version: v1\nservices: [{name: a, action: allow}]\n", "acl.yaml:2: must be enforce, report or open"),
        (
            "version: v1\nservices: [{name: a, action: open}, {name: a, action: report}]\n",
            "acl.yaml:2: the service 'a' stands here twice",
        ),
    ],
)
def test_what_is_no_acl_is_refused_with_its_place(text: str, message: str) -> None:
    [document] = read_documents(text, "acl.yaml")
    with pytest.raises(Unreadable, match="^" + message):
        read_smokescreen(document, Choices())


def test_a_domain_is_intercepted_by_the_first_entry_around_it() -> None:
    acl: Acl = {"version": "v1", "services": []}
    mitm = [{"domain": "*.a.test", "add_headers": {"X-Team": "a"}}]
    acl["default"] = {"action": "enforce", "allowed_domains": ["b.a.test", "*.a.test", "a.test"], "mitm_domains": mitm}
    [document] = read_documents(json.dumps(acl), "acl.yaml")
    ours = gate(read_smokescreen(document, Choices(ports(443), inspect=True)))
    permits = [ours.decides(f"{name}:443") for name in ("b.a.test", "c.a.test", "a.test")]
    assert [permit is not None and permit.terms.inspection is not None for permit in permits] == [True, True, False]


@pytest.mark.parametrize("value", ["", "Zürich", "a\tb", " a", "${secret:token}"])
def test_a_header_value_that_no_rule_can_set_is_left_out_and_told_with_its_place(value: str) -> None:
    acl: Acl = {"version": "v1", "services": []}
    mitm = [{"domain": "a.test", "add_headers": {"X-Team": "a b", "X-City": value}}]
    acl["default"] = {"action": "enforce", "allowed_domains": ["a.test"], "mitm_domains": mitm}
    [document] = read_documents(json.dumps(acl, indent=1), "acl.yaml")
    read = read_smokescreen(document, Choices(ports(443), inspect=True))
    permit = gate(read).decides("a.test:443")
    assert permit is not None
    assert permit.terms.inspection is not None
    assert [each.name for each in permit.terms.inspection.set] == ["X-Team"]
    [told] = read.findings.lines(Effect.LEFT_OUT)
    assert re.fullmatch(r"acl\.yaml:\d+: the value of X-City is no text that a rule can set", told)


def test_a_wildcard_inside_a_name_is_told_by_what_is_to_be_done_also_where_it_denies() -> None:
    acl: Acl = {"version": "v1", "services": [], "unsafe_allow_wildcards_across_public_suffixes": True}
    acl["global_allow_list"], acl["global_deny_list"] = ["sts.*.example.test"], ["a*.test"]
    acl["default"] = {"name": "default", "action": "open"}
    told = imported(acl)
    rest = "is neither a name nor *.name: write out the names that are meant"
    assert told.texts(Effect.LEFT_OUT) == [f"'sts.*.example.test' {rest}"]
    assert told.texts(Effect.WIDER) == [f"'a*.test' {rest}"]
    assert not [text for text in told.texts(Effect.NOTE) if "unsafe" in text]
