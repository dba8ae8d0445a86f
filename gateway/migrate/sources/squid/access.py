"""`http_access` of squid.conf: the first line that matches decides, all of its ACLs must match, and without a match the
last line is reversed. What the lines allow together is computed as boxes, and each box becomes a statement."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gateway.migrate.findings import Unreadable
from gateway.migrate.grants import EVERYONE, MORE_TO_OPEN, GroupEntry, Imported, Origin, Terms, Who
from gateway.migrate.patterns import with_exceptions
from gateway.migrate.sets import EVERY_ADDRESS, AddressSet, meant_by, special_purpose
from gateway.migrate.sources.squid.acls import BUILT_IN, READING_FILES, Acl, Entry, make_acl
from gateway.migrate.sources.squid.boxes import REQUEST, TUNNEL, Box, Users
from gateway.migrate.sources.squid.lines import (
    Find,
    Line,
    ListFile,
    behind_file,
    entries,
    read_with_included,
    with_quoting,
)
from gateway.model.intent import Protocol

MAX_BOXES = 5000
_PROOFS = ("http_access", "acl", "include", "http_port")
_MORE_ACCESS = (
    "http_access2", "adapted_http_access", "include", "if", "miss_access", "http_reply_access", "url_rewrite_program",
    "redirect_program", "adaptation_access", "follow_x_forwarded_for",
)  # fmt: skip
_SIZES = ("reply_body_max_size", "request_body_max_size")
_NO_SIZE = {"0", "none"}
_MEANING_NOTHING = {
    "adaptation_access": ("deny", "all"), "follow_x_forwarded_for": ("deny", "all"),
    "request_header_access": ("allow", "all"),
}  # fmt: skip
"""The ending of lines that change nothing; lines that may refuse end otherwise in `allow all`."""
_LEAVES_TLS_ALONE = ("splice", "peek", "stare", "none")
"""Of `ssl_bump`; others end TLS, and then `http_access` judges what is inside, or end the connection."""
_OF_SSL_BUMP = {"terminate": "ends connections by the name in TLS: narrow hosts to the names that it lets pass"}
_NOT_CARRIED = (
    "ssl_bump", "cache_peer", "never_direct", "delay_access", "tcp_outgoing_address", "request_header_add",
    "request_header_access", "request_header_replace",
)  # fmt: skip
_LOGIN = {"%LOGIN", "%ul"}
"""In the format of an `external_acl_type`, that it needs to know the user."""
_NOBODY = Users(frozenset({""}), all_but=False)


def read_squid(text: str, file: str, list_file: ListFile, find: Find = lambda _pattern: ()) -> Imported:
    """Raises `Unreadable`."""
    imported = Imported()
    lines = list(with_quoting(read_with_included(text, file, list_file, find)))
    if not any(line.words[0] in _PROOFS for line in lines):
        raise Unreadable(f"{file}: holds no {', '.join(_PROOFS[:-1])} or {_PROOFS[-1]}: is it a squid.conf?")
    _Access(imported, _acls(lines, list_file, imported), file).read(lines)
    _remark(lines, file, imported)
    return imported


def _acls(lines: Sequence[Line], list_file: ListFile, imported: Imported) -> dict[str, Acl]:
    """ACLs by name in lower case, for squid ignores case; several lines add up."""
    declared: dict[str, tuple[str, str, str, list[Entry]]] = {
        name.lower(): (name, kind, "squid", [("squid", value) for value in built_in.split()])
        for name, (kind, built_in) in BUILT_IN.items()
    }
    for line in lines:
        if line.words[0] != "acl" or len(line.words) < 3:
            continue
        name, kind = line.words[1:3]
        known = declared.get(name.lower())
        if known is None or (known[2] == "squid" and known[1] != kind):
            known = declared[name.lower()] = name, kind, line.place, []
        if known[1] != kind:
            raise Unreadable(f"{line.place}: {name} is of kind {known[1]} before")
        known[3].extend(_values(line, list_file, imported))
    asking = {line.words[1] for line in lines if line.words[0] == "external_acl_type" and _LOGIN & {*line.words[2:]}}
    made: dict[str, Acl] = {}
    for key, (name, kind, place, values) in declared.items():
        made[key] = make_acl(name, kind, place, values, imported.findings)
        made[key].asks |= kind == "external" and any(value in asking for _, value in values[:1])
    return made


def _values(line: Line, list_file: ListFile, imported: Imported) -> Iterable[Entry]:
    if behind_file(line):
        imported.findings.note(line.place, f"acl {line.words[1]}: squid reads nothing behind the file of a list")
    if line.words[2] in READING_FILES:
        return entries(line, 3, list_file)
    return [(line.place, word) for word in line.words[3:]]


_PROTOCOLS = {frozenset({TUNNEL}): Protocol.TLS, frozenset({REQUEST}): Protocol.HTTP}
"""The nearest to "tunnels only" that cannot carry requests, and to "requests only"."""
_Facts = tuple[tuple[str, str], ...]


class _Access:
    """Walks the lines once for names and once for literals."""

    def __init__(self, imported: Imported, acls: dict[str, Acl], file: str) -> None:
        self._imported = imported
        self._acls = acls
        self._file = file

    def read(self, lines: Iterable[Line]) -> None:
        every = [line for line in lines if line.words[0] == "http_access" and self._is_complete(line)]
        usable = {line.place for line in every if self._is_usable(line)}
        if not every:
            self._imported.findings.note(self._file, "there is no http_access: everything is refused")
        for literals in (False, True):
            for line, box in _largest(list(self._allowed(every, usable, literals))):
                origin = Origin(line.place, line.place.rpartition("/")[2].replace(":", "-line-"))
                meant = box.leads - self._closed(line)
                if not literals and box.leads != EVERY_ADDRESS and meant & special_purpose():
                    self._imported.findings.note(line.place, MORE_TO_OPEN)
                self._grant(origin, replace(box, leads=meant) if literals else box, literals)

    def _is_complete(self, line: Line) -> bool:
        """Whether squid accepts it as a line at all."""
        if len(line.words) < 2 or line.words[1] not in ("allow", "deny"):
            raise Unreadable(f"{line.place}: http_access says allow or deny")
        if len(line.words) == 2:
            self._imported.findings.note(line.place, f"{' '.join(line.words)}: squid skips a line without lists")
        return len(line.words) > 2

    def _acl(self, word: str) -> Acl | None:
        """The ACL that a word of a line names, negated if it says so."""
        return self._acls.get(word.removeprefix("!").lower())

    def _is_usable(self, line: Line) -> bool:
        """Whether it can be carried over: every ACL is known and of a kind that a policy has."""
        acls = [self._acl(word) for word in line.words[2:]]
        for number, (word, acl) in enumerate(zip(line.words[2:], acls, strict=True)):
            if acl is None or not acl.known:
                what = "is not declared" if acl is None else f"is of kind {acl.kind}"
                text = f"{' '.join(line.words)}: {word.removeprefix('!')} {what}"
                asking = next((place for place, each in enumerate(acls) if each is not None and each.asks), number)
                may_ask = asking > number  # squid may answer 407 here, see `_asked`
                self._imported.findings.left_out(line.place, text, line.words[1] == "deny" or may_ask)
                return False
        return True

    def _allowed(self, every: list[Line], usable: set[str], literals: bool) -> Iterator[tuple[Line, Box]]:
        """What each line allows that no line before it denies; an earlier allow may allow it as well."""
        rest = [Box()]
        for line in every:
            rest = _without(rest, self._asked(line, literals), line)
            if line.place not in usable:
                continue
            fits = self._fitting(line.words[2:], literals)
            if line.words[1] == "allow":
                yield from ((line, both) for left in rest for box in fits if (both := left & box))
            else:
                rest = _without(rest, fits, line)
        for line in every[-1:]:
            if line.words[1] == "deny":
                yield from ((line, box) for box in rest)

    def _asked(self, line: Line, literals: bool) -> list[Box]:
        """Whoever has no password where the line needs to know the user: squid answers 407 and looks no further."""
        words = line.words[2:]
        acls = [self._acl(word) for word in words]
        before = next((number for number, acl in enumerate(acls) if acl is not None and acl.asks), None)
        if before is None or any(acl is None or not acl.known for acl in acls[:before]):
            return []
        return [both for box in self._fitting(words[:before], literals) if (both := box & Box(users=_NOBODY))]

    def _closed(self, line: Line) -> AddressSet:
        """Special-purpose addresses, except those that an allow names."""
        acls = [acl for word in line.words[2:] if not word.startswith("!") and (acl := self._acl(word)) is not None]
        named = [network for acl in acls for network in acl.networks]
        return special_purpose() - meant_by(named)

    def _fitting(self, words: Sequence[str], literals: bool) -> list[Box]:
        """What all ACLs that these words name match together, as boxes that do not overlap."""
        fits = [Box()]
        for word in words:
            acl = self._acls[word.removeprefix("!").lower()]
            box = acl.for_literals if literals else acl.for_names
            parts = list(Box().without(box)) if word.startswith("!") else [box]
            fits = [both for one in fits for part in parts if (both := one & part)]
        return fits

    def _grant(self, origin: Origin, box: Box, literals: bool) -> None:
        who = self._who(origin, box)
        if who is None:
            return
        protocol = _PROTOCOLS.get(box.methods)
        if literals:
            if box.leads:
                self._imported.allow_addresses(origin, who, box.leads, box.ports, protocol)
            return
        within = None if box.leads == EVERY_ADDRESS else box.leads
        for pattern, but in with_exceptions(box.names.patterns, box.names.but).items():
            self._imported.allow_name(origin, who, pattern, box.ports, Terms(protocol, within, but=but))

    def _who(self, origin: Origin, box: Box) -> Who | None:
        """The group of the clients of a box; None if there can be none."""
        if box.users == Users(frozenset({""})):
            text = "whoever has a password may; without identity.required in gateway.yaml whoever asks may"
            self._imported.findings.left_out(origin.place, text, denies=True)
        elif box.users.all_but and box.users != Users():
            self._imported.findings.left_out(origin.place, "a group of all users but some cannot be said")
            return None
        if not box.users.all_but and not box.users.names - {""}:
            return None
        if box.users.all_but and box.sources == EVERY_ADDRESS:
            return EVERYONE
        users = sorted(box.users.names - {""}) if not box.users.all_but else []
        facts: list[_Facts] = [(("user", user),) for user in users] or [()]
        return Who((self._group(box.sources, facts, "-".join(users)),))

    def _group(self, sources: AddressSet, facts: list[_Facts], users: str) -> str:
        acl = next((acl for acl in self._acls.values() if acl.for_names == Box(sources=sources)), None)
        everywhere = sources == EVERY_ADDRESS
        cidrs: list[_Facts] = [()] if everywhere else [(("cidr", str(each)),) for each in sources.networks()]
        found = [GroupEntry((*cidr, *fact)) for cidr in cidrs for fact in facts]
        name = acl.name if acl is not None and not everywhere else users or "clients"
        return self._imported.group(name, found, acl.place if acl is not None and not everywhere else "")


def _without(boxes: list[Box], taken: Iterable[Box], line: Line) -> list[Box]:
    """What is left of the boxes. Raises `Unreadable` where that is too many."""
    for box in taken:
        boxes = [part for left in boxes for part in left.without(box)]
        if len(boxes) > MAX_BOXES:
            raise Unreadable(f"{line.place}: needs more than {MAX_BOXES} rules")
    return boxes


_FEW = 500


def _largest(allowed: list[tuple[Line, Box]]) -> Iterator[tuple[Line, Box]]:
    """Without boxes that lie inside another: their rules would apply to some clients only, and decide before it."""
    for index, (line, box) in enumerate(allowed):
        is_inside = len(allowed) <= _FEW and any(
            other.covers(box) and (place < index or not box.covers(other))  # of those that are the same, the first
            for place, (_, other) in enumerate(allowed)
            if place != index
        )
        if not is_inside:
            yield line, box


def _may_refuse(line: Line) -> bool:
    """Whether squid refuses something by it, beside http_access."""
    if line.words[0] in _SIZES:
        return not set(line.words[1:2]) <= _NO_SIZE
    ending = _MEANING_NOTHING.get(line.words[0], ("allow", "all"))
    return line.words[0] in _MORE_ACCESS and line.words[-2:] != ending


def _remark(lines: Iterable[Line], file: str, imported: Imported) -> None:
    for line in lines:
        if _may_refuse(line):
            why = "names no file that is here" if line.words[0] == "include" else "is not read"
            imported.findings.left_out(line.place, f"{line.words[0]} {why}, and may refuse", denies=True)
        elif line.words[0] == "ssl_bump" and line.words[1:] and line.words[1] not in _LEAVES_TLS_ALONE:
            does = _OF_SSL_BUMP.get(line.words[1], "requests inside of TLS may be refused by it")
            text = f"ssl_bump {line.words[1]} is not carried over, and {does}"
            imported.findings.left_out(line.place, text, denies=True)
        elif line.words[0] in _NOT_CARRIED and line.words[-2:] != _MEANING_NOTHING.get(line.words[0]):
            imported.findings.left_out(line.place, f"{line.words[0]} is not carried over")
    protocols = {grant.terms.protocol for grant in imported.names}
    if Protocol.HTTP in protocols:
        imported.findings.note(file, "where squid allows requests and no CONNECT, a CONNECT passes that carries HTTP")
    if Protocol.TLS in protocols:
        imported.findings.note(file, "where squid allows CONNECT and no requests, tunnels must carry TLS")
    imported.findings.note(file, "dstdomain is what clients ask for; squid looks up the names of addresses as well")
    imported.findings.note(file, "port 443 carries TLS and port 80 HTTP; squid does not look")
    imported.findings.note(file, "special-purpose addresses that no dst names are not opened")
