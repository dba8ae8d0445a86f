"""The house rules that an import contract cannot state, each a function from a source tree to what breaks it there.

A rule reads the syntax, never imports: it may look at a tree that is broken on purpose.
"""

import ast
import http
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

GROUND_FLOORS = {"model", "wire", "policy"}
NO_CLOCK_NO_CHANCE_NO_IO = {"asyncio", "ssl", "time", "random", "secrets", "logging", "socket", "select", "selectors"}
ADDRESSES = "gateway/model/addresses.py"
SOCKET_NAMES = {"inet_pton", "inet_ntop", "AF_INET", "AF_INET6"}
DECIDE = "gateway/policy/decide.py"
REPLIES = "gateway/wire/replies.py"
REASONS = "gateway/model/reasons.py"
REASONS_PAGE = "docs/reasons.md"
VAGUE_NAMES = re.compile(r"(utils?|helpers?|commons?|misc|base|managers?)", re.ASCII)
LONGEST_MODULE = 350
LONGEST_FUNCTION = 60
LARGEST_ROOM = 10
TESTS_WITHOUT_A_ROOM = {"flows", "lab", "abuse", "architecture", "helpers", "benchmarks", "chart", "fuzz", "faults"}
# Without the round hundreds, which are too often just numbers.
ERROR_STATUSES = {status.value for status in http.HTTPStatus if status.value > 400} - {500}
STATUS_LINE = re.compile(r"HTTP/1\.[01] [1-5][0-9]{2}\b", re.ASCII)
# In pieces, so that this file does not hold what it looks for.
REGISTRY_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "npmjs" + ".com", "debian" + ".org")
REGISTRY_HOST = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)).encode(), re.IGNORECASE)
SUPPRESSION = re.compile(r"#\s*type:\s*ignore", re.ASCII)
JUSTIFIED_SUPPRESSION = re.compile(r"#\s*type:\s*ignore\[[a-z, -]+\]\s+#\s*\S", re.ASCII)
REASON_ROW = re.compile(r"^\|\s*`([a-z0-9_]+)`\s*\|", re.ASCII | re.MULTILINE)


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to the repository, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def room(self) -> str:
        """The directory below gateway/ in which it lives; empty for what lives in none."""
        return self.parts[1] if len(self.parts) > 2 else ""

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


class House:
    """A repository: its root and the files that belong to it, as paths relative to the root."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self.root = root
        self.files = sorted(path for path in files if (root / path).is_file())

    @cached_property
    def sources(self) -> list[Module]:
        return [Module(path, self.read(path)) for path in self.files if path.endswith(".py")]

    @cached_property
    def gateway(self) -> list[Module]:
        return [module for module in self.sources if module.parts[0] == "gateway"]

    @cached_property
    def rooms(self) -> set[str]:
        return {module.room for module in self.gateway} - {""}

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")


Rule = Callable[[House], Iterator[str]]


def imports(module: Module) -> Iterator[tuple[ast.AST, str, list[ast.alias]]]:
    """Every import: where, the module named, and the names taken from it (none for a plain `import`)."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or "", node.names


def ground_floors_have_no_clock_no_chance_and_no_io(house: House) -> Iterator[str]:
    for module in house.gateway:
        if module.room not in GROUND_FLOORS:
            continue
        for node, target, names in imports(module):
            package = target.partition(".")[0]
            only_spells_addresses = (
                module.path == ADDRESSES and target == "socket" and names and {n.name for n in names} <= SOCKET_NAMES
            )
            if package in NO_CLOCK_NO_CHANCE_NO_IO and not only_spells_addresses:
                yield f"{module.at(node)}: the {module.room} floor imports {target}"


def only_decide_issues_permits(house: House) -> Iterator[str]:
    for module in house.gateway:
        if module.path == DECIDE:
            continue
        for node, _, names in imports(module):
            if any(alias.name == "Permit" and alias.asname for alias in names):
                yield f"{module.at(node)}: Permit under another name"
        for node in module.nodes:
            if isinstance(node, ast.Call) and last_name(node.func) == "Permit":
                yield f"{module.at(node)}: constructs a Permit"


def last_name(expression: ast.expr) -> str:
    """`Permit` of `Permit`, `decision.Permit` and the like."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def only_replies_knows_status_codes(house: House) -> Iterator[str]:
    """Error statuses as numbers or as HTTPStatus, and status lines; `admin` is a web server with its own."""
    for module in house.gateway:
        if module.path == REPLIES or module.room == "admin":
            continue
        for node, target, names in imports(module):
            if target == "http" and any(alias.name == "HTTPStatus" for alias in names):
                yield f"{module.at(node)}: imports HTTPStatus"
        docstrings = set(docstring_nodes(module))
        for node in module.nodes:
            if isinstance(node, ast.Constant) and node not in docstrings and is_a_status(module, node):
                yield f"{module.at(node)}: the status {node.value!r}"


def is_a_status(module: Module, literal: ast.Constant) -> bool:
    match literal.value:
        case int() as number:  # in decimal: a file mode in octal is none
            return number in ERROR_STATUSES and ast.get_source_segment(module.text, literal) == str(number)
        case str() as text:
            return STATUS_LINE.search(text) is not None
        case bytes() as line:
            return STATUS_LINE.search(line.decode("latin-1")) is not None
    return False


def docstring_nodes(module: Module) -> Iterator[ast.AST]:
    """Every string that is a statement of its own."""
    return (node.value for node in module.nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def init_modules_hold_only_a_docstring(house: House) -> Iterator[str]:
    for module in house.sources:
        if module.name != "__init__":
            continue
        if ast.get_docstring(module.tree) is None or len(module.tree.body) != 1:
            yield f"{module.path}: holds something else than one docstring"


def module_names_say_what_they_know(house: House) -> Iterator[str]:
    for module in house.gateway:
        for part in (*module.parts[1:-1], module.name):
            if VAGUE_NAMES.fullmatch(part):
                yield f"{module.path}: the name {part} says nothing"


def modules_are_short(house: House) -> Iterator[str]:
    for module in house.gateway:
        lines = len(module.text.splitlines())
        if lines > LONGEST_MODULE:
            yield f"{module.path}: {lines} lines, more than {LONGEST_MODULE}"


def functions_are_short(house: House) -> Iterator[str]:
    for module in house.gateway:
        for node in module.nodes:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{module.at(node)}: {node.name} has {lines} lines, more than {LONGEST_FUNCTION}"


def rooms_are_small(house: House) -> Iterator[str]:
    rooms: dict[str, int] = {}
    for module in house.gateway:
        if module.name != "__init__":
            room = str(PurePosixPath(module.path).parent)
            rooms[room] = rooms.get(room, 0) + 1
    for room, modules in rooms.items():
        if modules > LARGEST_ROOM:
            yield f"{room}: {modules} modules, more than {LARGEST_ROOM}"


def tests_mirror_the_rooms(house: House) -> Iterator[str]:
    for module in house.sources:
        if module.parts[0] != "tests" or not module.name.startswith("test_"):
            continue
        if module.room not in house.rooms | TESTS_WITHOUT_A_ROOM:
            yield f"{module.path}: there is no room gateway/{module.room}"


def no_registry_is_named(house: House) -> Iterator[str]:
    for path in house.files:
        for number, line in enumerate((house.root / path).read_bytes().splitlines(), start=1):
            if REGISTRY_HOST.search(line):
                yield f"{path}:{number}: names a package registry's host"


def every_reason_is_documented(house: House) -> Iterator[str]:
    if REASONS not in house.files or REASONS_PAGE not in house.files:
        yield f"{REASONS} or {REASONS_PAGE} is missing"
        return
    known = set(reason_values(Module(REASONS, house.read(REASONS))))
    described = REASON_ROW.findall(house.read(REASONS_PAGE))
    yield from (f"{REASONS_PAGE}: has no row for {reason}" for reason in sorted(known - set(described)))
    yield from (f"{REASONS_PAGE}: {reason} is no Reason" for reason in sorted(set(described) - known))
    yield from (f"{REASONS_PAGE}: {row} twice" for row in sorted(set(described)) if described.count(row) > 1)


def reason_values(module: Module) -> Iterator[str]:
    """The values of the enum `Reason`."""
    for enum in module.tree.body:
        if isinstance(enum, ast.ClassDef) and enum.name == "Reason":
            for statement in enum.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
                    yield str(statement.value.value)


def suppressed_type_errors_say_why(house: House) -> Iterator[str]:
    for module in house.sources:
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type != tokenize.COMMENT or not SUPPRESSION.match(token.string):
                continue
            if not JUSTIFIED_SUPPRESSION.match(token.string):
                yield f"{module.path}:{token.start[0]}: a suppressed type error without a code and a reason"


RULES: tuple[Rule, ...] = (
    ground_floors_have_no_clock_no_chance_and_no_io,
    only_decide_issues_permits,
    only_replies_knows_status_codes,
    init_modules_hold_only_a_docstring,
    module_names_say_what_they_know,
    modules_are_short,
    functions_are_short,
    rooms_are_small,
    tests_mirror_the_rooms,
    no_registry_is_named,
    every_reason_is_documented,
    suppressed_type_errors_say_why,
)
