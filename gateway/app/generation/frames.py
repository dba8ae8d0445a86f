"""A generation as a sequence of frames: the head, then the parts of its policy, each pickled by itself.

Only bytes that a process of this gateway wrote are ever unpickled: frames come over a pipe from a child that this
process started, or over the channel of its supervisor, who forwards them unparsed.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from secrets import token_bytes
from types import NotImplementedType

from gateway.app.configuration import Configuration, Materials
from gateway.app.inspection.material import AuthorityMaterial
from gateway.net.tls.contexts import ClientCertificate
from gateway.policy.parts import Part, parts_of
from gateway.settings.gateway import GatewaySettings
from gateway.settings.source.files import Stamp
from gateway.settings.source.places import Document, MarkedMapping

Frame = bytes
"""One pickled `Content`: at most 500 entries, about a millisecond to take over."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a generation holds besides its rules; the first of its contents. `rules` is their number;
    the rest as in `Configuration` and `LoadedPolicy`."""

    settings: GatewaySettings
    users: Mapping[str, bytes] | None
    authorities: str | None
    materials: Materials
    inspection: AuthorityMaterial | None
    client_certificates: Mapping[str, ClientCertificate]
    expiries: Mapping[str, float]
    files: Mapping[Path, Stamp]
    warnings: tuple[str, ...]
    rules: int


Content = Head | Part


def contents_of(read: Configuration) -> Iterator[Content]:
    """Everything that the receiver needs, in the order in which it is taken."""
    loaded = read.policy
    yield Head(
        settings=_without_document(read.settings),
        users=read.users,
        authorities=read.authorities,
        materials=read.materials,
        inspection=read.inspection,
        client_certificates=read.client_certificates,
        expiries=read.expiries,
        files=read.files,
        warnings=loaded.warnings,
        rules=len(loaded.policy.rules),
    )
    yield from parts_of(loaded.policy, token_bytes(16))


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
