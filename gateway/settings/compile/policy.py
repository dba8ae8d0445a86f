"""Compiles files into the values that verdicts are made from: one `Policy`, whatever the number of files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.model.addresses import Network
from gateway.model.decision import RuleRef, Timeouts
from gateway.policy.rules import AddressPolicy, ClusterPolicy, Group, HostPattern, Match, Mode, Policy, Rule
from gateway.settings.compile.checks import Declared, check_group, check_limit
from gateway.settings.compile.conflicts import find_conflicts
from gateway.settings.compile.limits import compile_limits
from gateway.settings.compile.rule import Remarks, RuleCompiler
from gateway.settings.gateway import GatewaySettings
from gateway.settings.hosts import show_pattern
from gateway.settings.policy import GroupSettings, LimitSettings, MatchSettings, PolicyFile
from gateway.settings.source.files import Reader
from gateway.settings.source.places import Document, KeyPath


@dataclass(frozen=True, slots=True)
class PolicySource:
    """One file of a policy. `name` is its path from the policy's root, the part of a rule's full name before `#`."""

    name: str
    document: Document
    body: PolicyFile


@dataclass(frozen=True, slots=True)
class Compiled:
    """A policy, its warnings, and notes on how Unicode names are compared."""

    policy: Policy
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compile_policy(sources: Sequence[PolicySource], settings: GatewaySettings, reader: Reader) -> Compiled:
    """All files as one policy; `reader` reads the list files that they name. Raises `ConfigErrors`."""
    return _Compiler(sources, settings, Remarks()).compile(reader)


@dataclass(slots=True)
class _Compiler:
    sources: Sequence[PolicySource]
    settings: GatewaySettings
    remarks: Remarks

    def compile(self, reader: Reader) -> Compiled:
        mode = self._mode()
        declared = self._declared()
        self._check_groups(declared)
        self._check_credentials(declared)
        usual = self.settings.timeouts.over(Timeouts())
        compiler = RuleCompiler(declared, usual, self.settings.identity.kubernetes, reader, self.remarks)
        rules = tuple(rule for source in self.sources for rule in self._rules(source, compiler))
        self.remarks.problems.raise_if_any()
        policy = Policy(
            rules=rules,
            groups=tuple(_group(name, group, declared) for name, group in declared.groups.items()),
            mode=mode,
            addresses=AddressPolicy(self.settings.addresses.allow, self.settings.addresses.deny),
            cluster=ClusterPolicy(self.settings.cluster.domains),
            identity_required=self.settings.identity.required,
            timeouts=usual,
        )
        self._check_conflicts(policy)
        return Compiled(policy, tuple(self.remarks.warnings), tuple(self.remarks.notes))

    def _declared(self) -> Declared:
        groups: dict[str, GroupSettings] = {}
        quotas: dict[str, LimitSettings] = {}
        first: dict[KeyPath, str] = {}
        for source in self.sources:
            paths = [("clients", name) for name in source.body.clients] + [
                ("quotas", name) for name in source.body.quotas
            ]
            for path in paths:
                if path in first:
                    self.remarks.problems.add(source.document.place(path), f"is already declared at {first[path]}")
                first.setdefault(path, f"{source.document.file}:{source.document.line(path)}")
            groups |= source.body.clients
            quotas |= source.body.quotas
        settings = self.settings
        return Declared(groups, quotas, settings.secrets, settings.client_certificates, settings.inspectors)

    def _check_groups(self, declared: Declared) -> None:
        for source in self.sources:
            for name, group in source.body.clients.items():
                for path, message in check_group(group, declared):
                    self.remarks.problems.add(source.document.place(("clients", name, *path)), message)
            for name, quota in source.body.quotas.items():
                for path, message in check_limit(quota, declared):
                    self.remarks.problems.add(source.document.place(("quotas", name, *path)), message)

    def _mode(self) -> Mode:
        """The one mode that the files state; two files that state different ones are an error."""
        stated = [source for source in self.sources if "mode" in source.body.model_fields_set]
        for source in stated[1:]:
            if source.body.mode is not stated[0].body.mode:
                place = f"{stated[0].document.file}:{stated[0].document.line(('mode',))}"
                message = f"a policy has a single mode, and {place} says {stated[0].body.mode}"
                self.remarks.problems.add(source.document.place(("mode",)), message)
        return stated[0].body.mode if stated else Mode.ENFORCE

    def _check_credentials(self, declared: Declared) -> None:
        settings = self.settings
        named = [(("secrets", name), secret.clients) for name, secret in settings.secrets.items()]
        shown = settings.client_certificates.items()
        named += [(("client_certificates", name), certificate.clients) for name, certificate in shown]
        for path, clients in named:
            for index, group in enumerate(clients or ()):
                if group not in declared.groups:
                    place = settings.document.place((*path, "clients", index))
                    self.remarks.problems.add(place, f"the group {group!r} is not declared in the policy")

    def _rules(self, source: PolicySource, compiler: RuleCompiler) -> Iterator[Rule]:
        """The rules of one file."""
        document = source.document
        seen: dict[str, int] = {}
        for index, rule in enumerate(source.body.rules):
            line = document.line(("rules", index))
            if rule.name in seen:
                message = f"the name {rule.name!r} is already used on line {seen[rule.name]} of this file"
                self.remarks.problems.add(document.place(("rules", index, "name")), message)
            seen.setdefault(rule.name, line)
            ref = RuleRef(f"{source.name}#{rule.name}", document.file, line)
            yield compiler.compile(rule, ref, document, ("rules", index))

    def _check_conflicts(self, policy: Policy) -> None:
        """Two allows for one destination are an error if neither takes precedence, else a warning."""
        conflicts = find_conflicts(policy)
        places = dict(self._places()) if conflicts else {}
        for conflict in conflicts:
            first, second = conflict.first, conflict.second
            what = f"{second.name} allows {show_destination(conflict.destination)}, as does {first}"
            place = places[second.name]
            if conflict.fatal:
                self.remarks.problems.add(place, f"{what}, for the same clients and a common port")
            else:
                message = f"{what}, for another group and with other settings: which one decides for members of both?"
                self.remarks.warnings.append(f"{place}: {message}")
        self.remarks.problems.raise_if_any()

    def _places(self) -> Iterator[tuple[str, str]]:
        for source in self.sources:
            for index, rule in enumerate(source.body.rules):
                yield f"{source.name}#{rule.name}", source.document.place(("rules", index))


def show_destination(destination: HostPattern | Network) -> str:
    """As it would be written in a file."""
    if isinstance(destination, Network):
        return str(destination)
    return show_pattern(destination)


def _group(name: str, group: GroupSettings, declared: Declared) -> Group:
    limits = compile_limits(group.limits, f"group {name}", declared.quotas)
    return Group(name, tuple(_match(match) for match in group.match), group.mode, limits)


def _match(match: MatchSettings) -> Match:
    return Match(
        cidr=match.cidr,
        user=match.user,
        namespace=match.namespace,
        service_account=match.service_account,
        labels=tuple(sorted((match.labels or {}).items())),
        namespace_labels=tuple(sorted((match.namespace_labels or {}).items())),
        spiffe=match.spiffe,
    )
