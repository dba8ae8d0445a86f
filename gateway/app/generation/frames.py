"""A generation as a sequence of frames: the head, then the parts of its policy, each pickled by itself.

Only bytes that a process of this gateway wrote are ever unpickled: frames come over a pipe from a child that this
process started, or over the channel of its supervisor, who forwards them unparsed.
"""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from io import BytesIO
from operator import attrgetter
from secrets import token_bytes
from types import NotImplementedType

from gateway.app.configuration import Configuration, Head
from gateway.policy.parts import Part, parts_of
from gateway.settings.gateway import GatewaySettings
from gateway.settings.source.places import Document, MarkedMapping

Frame = bytes
"""One pickled `Content`: at most 500 entries, about a millisecond to take over."""


Content = Head | Part


def contents_of(read: Configuration) -> Iterator[Content]:
    """Everything that the receiver needs, in the order in which it is taken."""
    yield replace(read.head, settings=_without_document(read.head.settings))
    yield from parts_of(read.policy, token_bytes(16))


_ARGUMENTS: dict[type, Callable[[object], tuple[object, ...]] | None] = {}


class _Pickler(pickle.Pickler):
    """Pickles our dataclasses as the arguments that make them: the state of a frozen dataclass, pickle's own way, takes
    several times as long to get and to set."""

    def reducer_override(self, value: object) -> tuple[type, tuple[object, ...]] | NotImplementedType:
        """See `pickle.Pickler`."""
        kind = type(value)
        if kind not in _ARGUMENTS:
            _ARGUMENTS[kind] = _arguments_of(kind)
        arguments_of = _ARGUMENTS[kind]
        return NotImplemented if arguments_of is None else (type(value), arguments_of(value))


def _arguments_of(kind: type) -> Callable[[object], tuple[object, ...]] | None:
    """A getter of all arguments of a dataclass' `__init__`; None for other types."""
    if not is_dataclass(kind) or hasattr(kind, "__post_init__") or not all(field.init for field in fields(kind)):
        return None
    names = [field.name for field in fields(kind)]
    if len(names) < 2:  # an attrgetter of one gives no tuple
        return lambda value: tuple(getattr(value, name) for name in names)
    return attrgetter(*names)


def dump(content: Content) -> Frame:
    """Pickle one content."""
    frame = BytesIO()
    _Pickler(frame, pickle.HIGHEST_PROTOCOL).dump(content)
    return frame.getvalue()


def load(frame: Frame) -> Content:
    """What `dump` made the frame of."""
    content: Content = pickle.loads(frame)  # noqa: S301  # written by a process of ours: see the module's docstring
    return content


def _without_document(settings: GatewaySettings) -> GatewaySettings:
    """Without the places in the file: they are for error messages, and those were given before."""
    return settings.model_copy().read_from(Document(settings.document.file, MarkedMapping(1)))
