"""A generation as a sequence of frames: the head, then the parts of its policy, each pickled by itself.

Only bytes that a process of this gateway wrote are ever unpickled: frames come over a pipe from a child that this
process started, or over the channel of its supervisor, who forwards them unparsed.
"""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

from gateway.app.configuration import Configuration, Materials
from gateway.app.inspection.material import AuthorityMaterial
from gateway.policy.parts import Part, parts_of
from gateway.settings.gateway import GatewaySettings
from gateway.settings.source.files import Stamp
from gateway.settings.source.places import Document, MarkedMapping

Frame = bytes
"""One pickled `Content`: at most 1,000 entries, a few milliseconds to take over."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a generation holds besides its rules; the first of its contents. `rules` is their number, `digest` changes
    with the files of the policy; the rest as in `Configuration` and `LoadedPolicy`."""

    settings: GatewaySettings
    users: Mapping[str, bytes] | None
    authorities: str | None
    materials: Materials
    inspection: AuthorityMaterial | None
    files: Mapping[Path, Stamp]
    warnings: tuple[str, ...]
    digest: str
    rules: int


Content = Head | Part


def contents_of(read: Configuration) -> Iterator[Content]:
    """Everything that the receiver needs, in the order in which it is taken."""
    policy = read.policy
    settings = _without_document(read.settings)
    facts = policy.warnings, policy.digest, len(policy.policy.rules)
    yield Head(settings, read.users, read.authorities, read.materials, read.inspection, read.files, *facts)
    yield from parts_of(policy.policy, token_bytes(16))


def dump(content: Content) -> Frame:
    """As it travels."""
    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


def load(frame: Frame) -> Content:
    """What `dump` made the frame of."""
    content: Content = pickle.loads(frame)  # noqa: S301  # our own child's: see the law above
    return content


def _without_document(settings: GatewaySettings) -> GatewaySettings:
    """Places in the file are for messages about it, and those were told before."""
    return settings.model_copy().read_from(Document(settings.document.file, MarkedMapping(1)))
