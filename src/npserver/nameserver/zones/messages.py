"""What the controller and the workers tell each other of a zone that changes (`runtime.pubsub`).

Each change is published, and the workers take those that follow what they have. A worker that lacks one, as it started
later or as there is another controller, asks for the whole zone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, to_builtins
from msgspec.msgpack import decode as unpack
from msgspec.msgpack import encode as pack

from npserver.dns.message.name import to_text
from npserver.dns.zone.content import (
    Content,
    ZoneChange,
    decode_change,
    decode_content,
    encode_change,
    encode_content,
)

if TYPE_CHECKING:
    from npserver.runtime.context import Context

ASK = "dns:zones:ask"  # told to the controller
WHOLE = "dns:zones:whole"  # told to a worker


def topic_of(apex: bytes) -> str:
    """Return the topic of a zone's changes."""
    return f"dns:zone:{to_text(apex)}"


class Published(Struct, frozen=True):
    """A change: the zone of version `after` is that of version `before` with it. `change` is in base64."""

    before: int
    after: int
    change: str

    @classmethod
    def of(cls, before: int, after: int, change: ZoneChange) -> Published:
        """Make it of a change."""
        return cls(before, after, b64encode(encode_change(change)).decode())

    def read(self) -> ZoneChange:
        """Return the change."""
        return decode_change(b64decode(self.change))


class Asked(Struct, frozen=True):
    """A worker asks for the whole zone."""

    worker: int
    apex: str  # in hexadecimal digits


class Whole(Struct, frozen=True):
    """A zone as it is now, and the changes that have led there. `content` is in base64."""

    apex: str
    version: int
    content: str
    history: list[str]

    @classmethod
    def of(cls, apex: bytes, version: int, content: Content, history: list[ZoneChange]) -> Whole:
        """Make it of a zone."""
        changes = [b64encode(encode_change(one)).decode() for one in history]
        return cls(apex.hex(), version, b64encode(encode_content(content)).decode(), changes)

    def read(self) -> tuple[Content, list[ZoneChange]]:
        """Return content and changes."""
        return decode_content(b64decode(self.content)), [decode_change(b64decode(one)) for one in self.history]


def as_message(value: Struct) -> Any:
    """Return what is published or told."""
    return to_builtins(value)


def read_published(message: Any) -> Published:
    """Return what was published."""
    return convert(message, Published)


def taken_slot(context: Context) -> int:
    """Return the slot in which a worker says up to which version it has taken the zones."""
    return context.row.slot("gauge.taken.dns:zones")


def encode_kept(serial: int, digest: bytes) -> bytes:
    """Return what the store keeps of a zone whose records are elsewhere: the serial, and what has it."""
    return pack((serial, digest))


def decode_kept(data: bytes | None) -> tuple[int, bytes] | None:
    """Return what was kept; None if there is nothing, or it is damaged."""
    if data is None:
        return None
    try:
        return unpack(data, type=tuple[int, bytes])
    except ValueError:
        return None
