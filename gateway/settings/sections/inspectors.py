"""One inspector of gateway.yaml in its written form: one of those that are shipped, or of a kind that is installed."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.settings.leaves import Count, Duration, Label, Size, Text
from gateway.settings.section import Section, key

Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


class OwnPatternSettings(Section):
    """A form of key of one's own."""

    pattern: Text = Field(description="An RE2 expression that finds one.")
    starts: Texts | None = key(None, "Texts with one of which every match begins; null: with anything.")
    longest: Size = key("256B", "No match is longer; at most 4KiB.")


class SecretsSettings(Section):
    """Looks for keys in what is sent."""

    action: Literal["block", "report"] = key("block", "End the exchange, or note it in its record.")
    patterns: tuple[Text, ...] | None = key(None, "Which of the known forms; null for all.")
    own: dict[Label, OwnPatternSettings] = key({}, "Further forms.")


class BarSettings(Section):
    """What content may pass in one direction."""

    types: Texts | None = key(None, "Media types that pass, as type/subtype or type/*; null for all.")
    deny_types: tuple[Text, ...] = key([], "Media types that do not.")
    max_size: Size | None = key(None, "Largest content, as it is sent and as it is decoded.")


class MediaSettings(Section):
    """Media types and sizes."""

    request: BarSettings = Field(default_factory=BarSettings, description="What is sent.")
    response: BarSettings = Field(default_factory=BarSettings, description="What is answered.")


class InspectorSettings(Section):
    """One inspector, which rules name. It has one of `secrets`, `media` and `kind`."""

    secrets: SecretsSettings | None = key(None, "Shipped: looks for keys in requests.")
    media: MediaSettings | None = key(None, "Shipped: media types and sizes.")
    kind: Label | None = key(None, "Installed by another distribution, by its entry point's name.")
    options: dict[Text, Any] = key({}, "With kind: what it takes.")
    timeout: Duration = key("1s", "With kind: how long one step of an inspector may take.")
    on_error: Literal["deny", "allow"] = key("deny", "What happens if it fails or is too slow.")
    unknown_coding: Literal["deny", "allow"] = key("deny", "Content that cannot be decoded for it.")
    max_decoded: Size = key("64MiB", "Content that decodes to more is refused.")
    max_ratio: Count = key(100, "And what decodes to so many times what was sent, from 1 MiB on.")
