"""The last good list of a URL as the store keeps it: compressed, in pieces, as values of the store are small.

A head names the pieces and is written last. A list whose pieces are not those of its head is as good as none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from npserver.store.interface import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from npserver.nameserver.blocking.block_list import ListSource
    from npserver.store.interface import Store

_FOLDER = "dns_block"


class Head(Struct, frozen=True):
    """The value that names the pieces."""

    at: float  # when the list was fetched, in seconds since 1970
    digest: str  # of the whole list
    pieces: int


def _keys(source: ListSource, head: Head) -> list[str]:
    return [f"{_FOLDER}/{source.digest}/{head.digest[:16]}.{number}" for number in range(head.pieces)]


def _head_key(source: ListSource) -> str:
    return f"{_FOLDER}/{source.digest}/head"


async def keep(store: Store, source: ListSource, body: bytes, at: float) -> None:
    """Keep a list. Raises: StoreError."""
    digest = sha256(body).hexdigest()
    known = await store.get(_head_key(source))
    former = _decode(known)
    if former is not None and former.digest == digest:
        head = Head(at, digest, former.pieces)
    else:
        data = zlib.compress(body, 1)
        head = Head(at, digest, -(-len(data) // MAX_VALUE_BYTES))
        for number, key in enumerate(_keys(source, head)):
            await store.put(key, data[number * MAX_VALUE_BYTES : (number + 1) * MAX_VALUE_BYTES])
    await store.put(_head_key(source), msgspec.json.encode(head))
    wanted = {*_keys(source, head), _head_key(source)}
    for key in await store.list(f"{_FOLDER}/{source.digest}/"):
        if key not in wanted:
            await store.delete(key)


def recall(read: Callable[[str], bytes | None], source: ListSource) -> tuple[bytes, float] | None:
    """Return the list and its date; None if there is none, or if it is damaged or too large for the config now.

    `read` returns the value of a key. Raises: StoreError.
    """
    head = _decode(read(_head_key(source)))
    if head is None or not 0 <= head.pieces <= source.max_bytes // MAX_VALUE_BYTES + 2:
        return None
    pieces = [read(key) or b"" for key in _keys(source, head)]
    try:
        body = zlib.decompressobj().decompress(b"".join(pieces), source.max_bytes + 1)
    except zlib.error:
        return None
    if len(body) > source.max_bytes or sha256(body).hexdigest() != head.digest:
        return None
    return body, head.at


def _decode(value: bytes | None) -> Head | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=Head)
    except msgspec.MsgspecError:
        return None
