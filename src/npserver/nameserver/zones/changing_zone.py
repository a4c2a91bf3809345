"""A zone that changes while it is served, in the controller: by its file, or by updates."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.dns.message.name import to_text
from npserver.dns.zone.content import Content, ZoneChange, apply_to, is_newer, next_serial, serial_of, with_serial
from npserver.dns.zone.digest import BYTES, changed_digest, content_digest
from npserver.dns.zone.presigned import is_signed
from npserver.nameserver.zones.history import ZoneHistory
from npserver.nameserver.zones.overlay import Overlay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.dns.zone.content import SetChange
    from npserver.nameserver.zones.zone_file import Stamp

Kept = tuple[int, bytes]  # a serial, and the digest of the zone that had it


class ChangingZone(Struct):
    """A zone that changes."""

    # base     the records of the file, or of the config
    # overlay  what updates have made of them
    # content  what is served: both together
    # version  of the content, for the workers
    # digest   of the content; None until it is asked for
    # lock     held by whoever makes a change

    apex: bytes
    path: str  # of the config, such as dns_zones[0]
    base: Content
    version: int
    file: str = ""  # the path; empty if the records are in the config
    files: dict[str, Stamp] = field(default_factory=dict)  # it and those that it includes, as they were when read
    unsigned_for: str = ""  # the key for which the file must not be signed
    overlay: Overlay = field(default_factory=Overlay)
    content: Content = field(default_factory=dict)
    history: ZoneHistory = field(default_factory=ZoneHistory)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    error: str = ""  # why the file is not in force
    is_unknown: bool = False  # a former controller has served what is not in the file any more, nor anything else
    digest: int | None = None
    owns_content: bool = False  # others have the first one, too

    def __post_init__(self) -> None:
        self.content = self.content or self.base

    @property
    def key(self) -> str:
        """The key that names the file."""
        return f"{self.path}.file"

    @property
    def updates_key(self) -> str:
        """The key that says who may update it."""
        return f"{self.path}.updates"

    @property
    def name(self) -> str:
        """The zone, for people."""
        return to_text(self.apex)

    @property
    def store_key(self) -> str:
        """Where the store keeps the serial."""
        return f"dns/zones/{sha256(self.apex).hexdigest()[:32]}"

    def kept(self, changes: Sequence[SetChange] = (), serial: int | None = None) -> Kept:
        """Return the serial and the digest of the zone after changes. `serial`: if it is not as it is."""
        if self.digest is None:
            self.digest = content_digest(self.content, self.apex)
        digest = changed_digest(self.digest, self.apex, changes)
        return serial_of(self.content, self.apex) if serial is None else serial, digest.to_bytes(BYTES, "big")

    def take(self, change: ZoneChange, version: int) -> None:
        """Go on to the zone after a change."""
        if self.digest is not None:
            self.digest = changed_digest(self.digest, self.apex, change.sets)
        if not self.owns_content:
            self.content, self.owns_content = dict(self.content), True
        apply_to(self.content, change.sets)
        self.version = version
        self.history.add(change, self.content)


def resumed(base: Content, apex: bytes, kept: Kept | None, overlay: Overlay) -> Content:
    """Return what is served of the records of a file or the config, after what the store has kept.

    Args:
        kept: the last serial, and the digest of what had it; None if there is none.
        overlay: what updates have made.
    """
    content = dict(base)
    apply_to(content, overlay.changes())
    if kept is None or is_signed(content, apex) or is_newer(serial_of(content, apex), kept[0]):
        return content
    is_same = kept[1] == content_digest(content, apex).to_bytes(BYTES, "big")
    return with_serial(content, apex, kept[0] if is_same else next_serial(kept[0]))


def newer(one: Kept | None, other: Kept | None) -> Kept | None:
    """Return that with the newer serial."""
    if one is None or other is None:
        return one or other
    return other if is_newer(other[0], one[0]) else one
