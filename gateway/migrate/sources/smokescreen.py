"""Smokescreen's egress ACL, version v1: services (roles), a default, and two lists that hold for all.

As its README and its decision order have it: what the role's own list allows passes, even if it is denied globally;
then the global denies, in every mode; then the global allows; then the role's action. `*.example.com` is every name
below at any depth and never itself. Ports, methods and paths are not judged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.migrate.grants import EVERYONE, GroupEntry, Imported, Inspected, Origin, Refusal, Terms, Who
from gateway.migrate.patterns import Patterns, in_common, is_covered, name_or_below, tell
from gateway.migrate.reading import Node
from gateway.migrate.sets import EVERY_ADDRESS, EVERY_PORT, NO_ADDRESS, AddressSet, Spans, addresses, special_purpose
from gateway.model.addresses import network_of, parse_address
from gateway.policy.rules import ANY_HOST, HostPattern, Mode

_MODES = {"enforce": Mode.ENFORCE, "report": Mode.REPORT, "open": Mode.ENFORCE}
_SERVICE_KEYS = ("name", "project", "action", "allowed_domains", "mitm_domains")
_KEYS = (
    "version", "services", "default", "global_allow_list", "global_deny_list",
    "unsafe_allow_wildcards_across_public_suffixes",  # of wildcards inside names, which are left out one by one
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choices:
    """What an ACL does not say: on which ports its names may be reached, which key of `match` a role becomes, and
    whether what it intercepts is inspected here."""

    ports: Spans = EVERY_PORT
    role_is: str = "user"
    inspect: bool = False


def read_smokescreen(document: Node, choices: Choices) -> Imported:
    """Raises `Unreadable`."""
    if document.get("version").text_or("") != "v1":
        configures = "; import the file that its acl_file names" if "acl_file" in document.mapping() else ""
        raise document.refusal(f"is no Smokescreen ACL, which begins with `version: v1`{configures}")
    imported = Imported()
    _Acl(imported, choices).read(document)
    for key in document.others(*_KEYS):
        imported.findings.note(document.get(key).place, f"{key} is not read")
    return imported


class _Acl:
    """Converts one ACL. `_own` is what the lists of the services, and of the default, allow."""

    def __init__(self, imported: Imported, choices: Choices) -> None:
        self._imported = imported
        self._findings = imported.findings
        self._choices = choices
        self._own: dict[Who, Patterns] = {}

    def read(self, document: Node) -> None:
        for service in document.get("services").items():
            self._service(service)
        groups = tuple(self._imported.groups)
        default = document.get("default")
        if default.value is not None:
            self._imported.mode = self._mode(default)
            self._allow(default, Who(but=groups))
            self._global(document, EVERYONE, groups)
        elif groups:
            self._global(document, Who(groups), groups)
        self._remark(document)

    def _service(self, service: Node) -> None:
        role = service.get("name").text()
        if not role:
            raise service.refusal("a service without a name")
        entry = GroupEntry(((self._choices.role_is, role),))
        if any(entry in group.entries for group in self._imported.groups.values()):
            raise service.refusal(f"the service {role!r} stands here twice")
        project = service.get("project").text_or("")
        origin = f"{service.place}, project {project}" if project else service.place
        self._allow(service, Who((self._imported.group(role, [entry], origin, self._mode(service)),)))

    def _mode(self, service: Node) -> Mode:
        action = service.get("action")
        mode = _MODES.get(action.text_or("").lower())
        if mode is None:
            raise action.refusal("must be enforce, report or open")
        return mode

    def _allow(self, service: Node, who: Who) -> None:
        name = service.get("name").text_or("default")
        intercepted = [(name_or_below(node.get("domain").text()), node) for node in service.get("mitm_domains").items()]
        own: list[HostPattern] = []
        for domain in service.get("allowed_domains").items():
            terms = Terms(inspected=self._inspected(_first_around(domain.text(), intercepted)))
            own += self._allow_entry(domain, name, who, terms)
        if service.get("action").text().lower() == "open":
            origin = Origin(service.place, f"{name}-open")
            self._imported.allow_name(origin, who, ANY_HOST, self._choices.ports)
            usual = AddressSet(v4=EVERY_ADDRESS.v4) - special_purpose()
            self._imported.allow_addresses(origin, who, usual, self._choices.ports)
        for key in service.others(*_SERVICE_KEYS):
            self._findings.left_out(service.get(key).place, f"{key} of {name} has no counterpart")
        self._own[who] = tuple(own)

    def _allow_entry(self, entry: Node, name: str, who: Who, terms: Terms) -> Patterns:
        origin = Origin(entry.place, name)
        patterns, literal = self._entry(entry)
        for pattern in patterns:
            self._imported.allow_name(origin, who, pattern, self._choices.ports, terms)
        if literal & special_purpose():
            self._findings.left_out(entry.place, f"{entry.text()}: an ACL alone opens no such address; a rule would")
        elif literal:
            self._imported.allow_addresses(origin, who, literal, self._choices.ports)
        return patterns

    def _entry(self, entry: Node, denies: bool = False) -> tuple[Patterns, AddressSet]:
        """Names and addresses that one entry of a list stands for."""
        written = entry.text()
        address = parse_address(written)
        if address is not None and address.version == 4:
            return (), addresses([network_of(address)])
        found = name_or_below(written)
        if found is None:
            text = f"{written!r} is neither a name nor *.name: write out the names that are meant"
            self._findings.left_out(entry.place, text, denies)
            return (), NO_ADDRESS
        tell(self._findings, f"{written} ({entry.place})", (found,))
        return (found,), NO_ADDRESS

    def _inspected(self, domain: Node | None) -> Inspected | None:
        if domain is None:
            return None
        if not self._choices.inspect:
            self._findings.left_out(domain.place, "TLS is not inspected without --inspect: no header is set or logged")
            return None
        headers = domain.get("add_headers").mapping().items()
        logged = [node.text() for node in domain.get("detailed_http_logs_full_headers").items()]
        return Inspected(tuple(self._settable(headers)), tuple(logged))

    def _settable(self, headers: Iterable[tuple[str, Node]]) -> Iterator[tuple[str, str]]:
        for name, node in headers:
            value = node.text()
            if value and value.isascii() and value.isprintable() and value.strip() == value and "${" not in value:
                yield name, value
            else:
                self._findings.left_out(node.place, f"the value of {name} is no text that a rule can set")

    def _global(self, document: Node, known: Who, groups: tuple[str, ...]) -> None:
        for entry in document.get("global_allow_list").items():
            self._allow_entry(entry, "global-allow", known, Terms())
        for entry in document.get("global_deny_list").items():
            patterns, literal = self._entry(entry, denies=True)
            if patterns or literal:
                self._deny(Refusal(Origin(entry.place, "global-deny"), EVERYONE, patterns, literal), groups)

    def _deny(self, refusal: Refusal, groups: tuple[str, ...]) -> None:
        """In every mode, for all; but a service's own list takes precedence."""
        spared = {who: in_common(own, refusal.patterns) for who, own in self._own.items()}
        spared = {who: own for who, own in spared.items() if own}
        apart = tuple(group for who in spared for group in who.groups)
        default = next((own for who, own in spared.items() if not who.groups), None)
        if default is None:
            usual: list[tuple[Who, Patterns]] = [(Who(but=apart), ())]
        else:
            rest = tuple(group for group in groups if group not in apart)
            usual = [(Who(but=groups), default), *([(Who(rest), ())] if rest else [])]
        for who, but in (*usual, *((who, own) for who, own in spared.items() if who.groups)):
            self._imported.refusals.append(replace(refusal, who=who, but=but, mode=Mode.ENFORCE))

    def _remark(self, document: Node) -> None:
        place, key = document.file, self._choices.role_is
        if self._imported.groups:
            self._findings.note(place, f"a role, there the common name of a certificate, is here what {key} says")
            self._findings.note(
                place, "whoever does not say who he is goes by the default; identity.required refuses him"
            )
        if self._choices.ports == EVERY_PORT:
            self._findings.note(place, "an ACL judges no port: every port is open; --ports narrows that")
        self._findings.note(place, "the name in TLS is compared with the CONNECT name, which Smokescreen does not do")


def _first_around(written: str, intercepted: Sequence[tuple[HostPattern | None, Node]]) -> Node | None:
    """The first entry of `mitm_domains` that covers what one of `allowed_domains` does."""
    own = name_or_below(written)
    found = (node for pattern, node in intercepted if own and pattern and is_covered(own, frozenset({pattern})))
    return next(found, None)
