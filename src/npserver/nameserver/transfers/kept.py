"""What the store keeps of a zone that is transferred from a primary: its records, and when they were last confirmed.

The records are in parts of the size of a value, and a head says which parts belong together: a crash in between leaves
the former ones.
"""

from __future__ import annotations

import asyncio
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct
from msgspec.msgpack import decode as unpack
from msgspec.msgpack import encode as pack

from npserver.dns.zone.content import Content, decode_content, encode_content, version_of
from npserver.errors import StoreError
from npserver.runtime.context import PerProcess
from npserver.store.interface import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.store.interface import Store

_LEVEL = 1  # of zlib: zones are large, and much in them is alike
_MAX_PARTS = 4096


class _Head(Struct, frozen=True, array_like=True):
    slot: int  # 0 or 1, in turn
    parts: int
    digest: bytes
    checked_at: float  # seconds since 1970


class KeptZone:
    """The place of one zone in the store."""

    def __init__(self, apex: bytes) -> None:
        self._key = f"dns/secondaries/{sha256(apex).hexdigest()[:32]}"
        self._head: _Head | None = None
        self.version = 0  # of the content that is kept, as this process counts them

    def __repr__(self) -> str:
        return f"<KeptZone {self._key}>"

    def _part(self, slot: int, number: int) -> str:
        return f"{self._key}.{slot}.{number}"

    def read(self, read: Callable[[str], bytes | None]) -> tuple[Content, float] | None:
        """Return the records and when they were confirmed; None if there are none.

        Raises: StoreError, also if they are damaged.
        """
        data = read(self._key)
        if data is None:
            return None
        try:
            head = unpack(data, type=_Head)
            parts = [read(self._part(head.slot, number)) or b"" for number in range(min(head.parts, _MAX_PARTS))]
            packed = b"".join(parts)
            if sha256(packed).digest() != head.digest:
                raise StoreError("the records are damaged")
            content = decode_content(zlib.decompress(packed))
        except (MsgspecError, zlib.error) as error:
            raise StoreError(f"the records are damaged: {error}") from None
        self._head, self.version = head, version_of(content)
        return content, head.checked_at

    async def write(self, store: Store, content: Content, checked_at: float) -> None:
        """Keep these records. Raises: StoreError."""
        packed = await asyncio.to_thread(lambda: zlib.compress(encode_content(content), _LEVEL))
        slot = 1 - self._head.slot if self._head is not None else 0
        pieces = [packed[at : at + MAX_VALUE_BYTES] for at in range(0, len(packed), MAX_VALUE_BYTES)]
        for number, piece in enumerate(pieces):
            await store.put(self._part(slot, number), piece)
        await self._put_head(store, _Head(slot, len(pieces), sha256(packed).digest(), checked_at))

    async def confirm(self, store: Store, checked_at: float) -> None:
        """Keep the time at which the primary still had the records that are kept. Raises: StoreError."""
        if (head := self._head) is not None:
            await self._put_head(store, _Head(head.slot, head.parts, head.digest, checked_at))

    async def _put_head(self, store: Store, head: _Head) -> None:
        await store.put(self._key, pack(head))
        self._head = head


#: The places of the zones of a process, by apex: they outlive a config.
KEPT: PerProcess[dict[bytes, KeptZone]] = PerProcess(lambda context: {})
