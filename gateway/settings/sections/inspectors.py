"""One inspector of gateway.yaml in its written form: a shipped one, or one of an installed kind."""

from typing import Any, Literal

from pydantic import Field

from gateway.settings.leaves import Count, Duration, Label, Size, Text, Texts
from gateway.settings.section import Section, key


class OwnPatternSettings(Section):
    """A form of secret of your own."""

    pattern: Text = Field(description="An RE2 expression that matches one.")
    starts: Texts | None = key(None, "Every match begins with one of these texts; null for anything.")
    longest: Size = key("256B", "Length of the longest match; at most 4KiB.")


class SecretsSettings(Section):
    """Looks for secrets in what is sent."""

    action: Literal["block", "report"] = key("block", "End the exchange, or only note it in its record.")
    patterns: tuple[Text, ...] | None = key(None, "Which of the known forms to look for; null for all.")
    own: dict[Label, OwnPatternSettings] = key({}, "Further forms of secrets.")


class BarSettings(Section):
    """What content may pass in one direction."""

    types: Texts | None = key(None, "Media types that pass, as type/subtype or type/*; null for all.")
    deny_types: tuple[Text, ...] = key([], "Media types that do not pass.")
    max_size: Size | None = key(None, "Largest content, both as sent and decoded.")


class MediaSettings(Section):
    """Media types and sizes."""

    request: BarSettings = Field(default_factory=BarSettings, description="Content of requests.")
    response: BarSettings = Field(default_factory=BarSettings, description="Content of responses.")


class InspectorSettings(Section):
    """One inspector, which rules name. It has one of `secrets`, `media` and `kind`."""

    secrets: SecretsSettings | None = key(None, "Shipped: looks for secrets in requests.")
    media: MediaSettings | None = key(None, "Shipped: restricts media types and sizes.")
    kind: Label | None = key(None, "One of another Python distribution: the name of its entry point.")
    options: dict[Text, Any] = key({}, "With kind: its options.")
    timeout: Duration = key("1s", "With kind: how long one step of an inspector may take.")
    on_error: Literal["deny", "allow"] = key("deny", "What happens if it fails or is too slow.")
    unknown_coding: Literal["deny", "allow"] = key("deny", "What happens to content that cannot be decoded for it.")
    max_decoded: Size = key("64MiB", "Content that decodes to more than this is refused.")
    max_ratio: Count = key(100, "Above 1 MiB, content that decodes to more than this many times its size is refused.")
