"""What objects hold, as text: two portraits differ where one object was given another value than the other."""

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from gateway.settings.section import Section

_VALUES = (str, bytes, int, float, Enum, Path, type(None))


def portrait(root: object, without: frozenset[str] = frozenset()) -> Mapping[str, object]:
    """By path from `root`, every plain value that our objects hold, directly, in containers or in functions; of all
    other objects only the type. `without` are attributes that are left out. What can be part of itself is drawn once:
    whether two places share a value or have equal ones makes no difference."""
    drawn: dict[str, object] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, each = waiting.pop()
        drawn[path] = each if isinstance(each, _VALUES) else type(each).__qualname__
        if not isinstance(each, _VALUES) and not _is_value(each):
            if id(each) in seen:
                continue
            seen.add(id(each))
        waiting += [(path + step, inner) for step, inner in _held(each) if step.removeprefix(".") not in without]
    return drawn


def _is_value(each: object) -> bool:
    """Whether it is compared by what it holds, all the way down."""
    parameters = getattr(type(each), "__dataclass_params__", None)
    return isinstance(each, Mapping | list | tuple | Section) or (parameters is not None and parameters.frozen)


def _held(each: Any) -> Iterator[tuple[str, object]]:
    match each:
        case Mapping():
            yield from ((f"[{key}]", inner) for key, inner in each.items())
        case list() | tuple():
            yield from ((f"[{index}]", inner) for index, inner in enumerate(each))
        case set() | frozenset():
            yield "{}", str(sorted(map(str, each)))
        case partial():
            yield from ((".func", each.func), (".args", each.args), (".keywords", each.keywords))
        case MethodType():
            yield ".self", each.__self__
        case FunctionType():
            cells = zip(each.__code__.co_freevars, each.__closure__ or (), strict=True)
            yield from ((f".{name}", cell.cell_contents) for name, cell in cells)
        case _ if type(each).__module__.startswith("gateway."):
            yield from ((f".{name}", getattr(each, name)) for name in _attributes(each) if hasattr(each, name))


def _attributes(each: object) -> list[str]:
    slots = [getattr(kind, "__slots__", ()) for kind in type(each).__mro__]
    named = {name for those in slots for name in ([those] if isinstance(those, str) else those)}
    return sorted(name for name in {*named, *getattr(each, "__dict__", ())} if not name.startswith("__"))
