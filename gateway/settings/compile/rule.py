"""Checks one rule of a file and compiles it into a `Rule`."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.model.addresses import Network
from gateway.model.decision import RuleRef, Terms, Timeouts
from gateway.model.inspection.terms import Inspection
from gateway.model.intent import Protocol
from gateway.policy.rules import ANY_PORT, Action, Except, HostPattern, PortRange, Rule
from gateway.settings.compile.advice import advise_rule
from gateway.settings.compile.checks import Declared, check_rule
from gateway.settings.compile.inspection import compile_inspection
from gateway.settings.compile.limits import compile_breaker, compile_limits
from gateway.settings.compile.suffixes import Suffix, check_suffix
from gateway.settings.hosts import HostEntry, parse_host_entry
from gateway.settings.policy import ExceptSettings, RuleSettings
from gateway.settings.problems import BadValue, Problems
from gateway.settings.source.files import Reader, list_lines, parse_list
from gateway.settings.source.pem import parse_authorities
from gateway.settings.source.places import Document, KeyPath
from gateway.settings.units import parse_cidr

_HTTPS = (PortRange(443, 443),)
_TERMS = frozenset((
    "sni", "ech", "inspect", "private", "within", "resolve", "source", "timeouts", "proxy_protocol", "limits",
    "honour_retry_after", "breaker",
))  # fmt: skip
_NOTHING_EXCEPTED = Except()


@dataclass(slots=True)
class Remarks:
    """What a load has to say: problems, warnings, and notes on how Unicode names are compared."""

    problems: Problems = field(default_factory=Problems)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RuleCompiler:
    """Knows what rules may refer to. `usual` are gateway.yaml's timeouts; `pods_are_known`: namespaces are recognised
    without a credential; `reader` reads list files."""

    declared: Declared
    usual: Timeouts
    pods_are_known: bool
    reader: Reader
    remarks: Remarks
    _usual_terms: Terms = field(init=False)

    def __post_init__(self) -> None:
        self._usual_terms = Terms(Protocol.AUTO, timeouts=self.usual)

    def compile(self, rule: RuleSettings, ref: RuleRef, document: Document, path: KeyPath) -> Rule:
        """The rule at `path`, which must not be used if problems were found."""
        patterns = self._patterns(rule, document, path)
        ports = port_ranges(rule)
        for inner, message in check_rule(rule, patterns, ports, self.declared):
            self.remarks.problems.add(document.place((*path, *inner)), message)
        for inner, message in advise_rule(rule, ports, self.declared, self.pods_are_known):
            self.remarks.warnings.append(f"{document.place((*path, *inner))}: {message}")
        return Rule(
            ref=ref,
            terms=self._terms(rule, ref, document, path),
            action=rule.action,
            hosts=patterns,
            cidrs=self._cidrs(rule, document, path),
            ports=ports,
            clients=rule.clients,
            except_=_except(rule.except_),
            mode=rule.mode,
            expires=rule.expires,
            protocol=rule.protocol,
            note=rule.note,
        )

    def _patterns(self, rule: RuleSettings, document: Document, path: KeyPath) -> tuple[HostPattern, ...]:
        patterns: list[HostPattern] = []
        for index, entry in enumerate(rule.hosts):
            patterns += entry.patterns
            suffix = check_suffix(entry, rule)
            if suffix is not None or not entry.text.isascii():
                self._remark(document.place((*path, "hosts", index)), entry, suffix)
        if rule.hosts_file is not None:
            text = self._list_file(rule.hosts_file, document, (*path, "hosts_file"))
            quotes = _may_be_quoted(rule.hosts_file, document)
            for line, entry in parse_list(text, str(rule.hosts_file), parse_host_entry, self.remarks.problems, quotes):
                patterns += entry.patterns
                suffix = check_suffix(entry, rule)
                if suffix is not None or not entry.text.isascii():
                    self._remark(f"{rule.hosts_file}:{line}", entry, suffix)
        return tuple(patterns)

    def _cidrs(self, rule: RuleSettings, document: Document, path: KeyPath) -> tuple[Network, ...]:
        if rule.cidrs_file is None:
            return rule.cidrs
        text = self._list_file(rule.cidrs_file, document, (*path, "cidrs_file"))
        quotes = _may_be_quoted(rule.cidrs_file, document)
        listed = parse_list(text, str(rule.cidrs_file), parse_cidr, self.remarks.problems, quotes)
        return (*rule.cidrs, *(network for _, network in listed))

    def _list_file(self, file: Path, document: Document, path: KeyPath) -> str:
        try:
            text = self.reader.read(file)
        except BadValue as refusal:
            self.remarks.problems.add(document.place(path), f"{file} {refusal}")
            return ""
        if next(list_lines(text), None) is None:
            self.remarks.problems.add(document.place(path), f"{file} has no entries")
        return text

    def _remark(self, place: str, entry: HostEntry, suffix: Suffix | None) -> None:
        if not entry.text.isascii():
            self.remarks.notes.append(f"{place}: {entry.text} is {entry.ascii}")
        if suffix is Suffix.ICANN:
            message = f"{entry.text!r} covers a whole public suffix: set public_suffix: true if that is meant"
            self.remarks.problems.add(place, message)
        elif suffix is Suffix.PRIVATE:
            message = f"{entry.text!r} covers names of many owners: set public_suffix: true if that is meant"
            self.remarks.warnings.append(f"{place}: {message}")

    def _inspection(self, rule: RuleSettings, document: Document, path: KeyPath) -> Inspection | None:
        if rule.inspect is None or self.remarks.problems.found:
            return None
        inspection = compile_inspection(rule.inspect, Path(document.file).parent)
        if inspection.upstream_ca is not None:
            try:
                text = parse_authorities(self.reader.read(Path(inspection.upstream_ca)))
                return replace(inspection, upstream_ca=text)
            except BadValue as refusal:
                place = document.place((*path, "inspect", "upstream_ca"))
                self.remarks.problems.add(place, f"{inspection.upstream_ca} {refusal}")
        return inspection

    def _terms(self, rule: RuleSettings, ref: RuleRef, document: Document, path: KeyPath) -> Terms:
        if not rule.model_fields_set & _TERMS:
            return self._usual_terms
        return Terms(
            protocol=Protocol.AUTO,  # `Rule.protocol` says it
            sni=rule.sni,
            ech=rule.ech,
            inspection=self._inspection(rule, document, path),
            private=rule.private,
            within=rule.within,
            resolve=rule.resolve,
            source=rule.source,
            timeouts=rule.timeouts.over(self.usual) if rule.timeouts is not None else self.usual,
            limits=compile_limits(rule.limits, ref.name, self.declared.quotas),
            honour_retry_after=rule.honour_retry_after,
            breaker=compile_breaker(rule.breaker),
            proxy_protocol=rule.proxy_protocol,
        )


def _may_be_quoted(file: Path, document: Document) -> bool:
    """Whether messages may quote it: only if it is in the policy's directory. The author of a policy can name any file
    that the gateway can read, even one of secrets, and messages are seen by others."""
    return file.resolve().is_relative_to(Path(document.file).parent.resolve())


def port_ranges(rule: RuleSettings) -> tuple[PortRange, ...]:
    """The effective ports, joined and in order; the action's default if the rule names none."""
    if not rule.ports:
        return ANY_PORT if rule.action is Action.DENY else _HTTPS
    joined: list[PortRange] = []
    for span in sorted(rule.ports, key=lambda span: span.first):
        if joined and span.first <= joined[-1].last + 1:
            joined[-1] = PortRange(joined[-1].first, max(joined[-1].last, span.last))
        else:
            joined.append(span)
    return tuple(joined)


def _except(excepted: ExceptSettings | None) -> Except:
    if excepted is None:
        return _NOTHING_EXCEPTED
    hosts = tuple(pattern for entry in excepted.hosts for pattern in entry.patterns)
    return Except(hosts, excepted.cidrs, excepted.clients)
