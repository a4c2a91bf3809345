"""Which names have certificates on demand, and which entries agreed to them: in the store, and in the controller.

Workers read the store for themselves, so that what was issued is served whatever happens to the controller.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from npserver.tls.acme.state import State, Wanted

if TYPE_CHECKING:
    from npserver.store.interface import Store

PREFIX = "acme/on_demand/"  # in the store: a list of the config keys of the entries, by name
_UNREAD: frozenset[str] = frozenset({"unread"})


class AgreedNames:
    """The names. What the store does not have costs no access to it."""

    __slots__ = ("_entries", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, frozenset[str]] = {}  # the keys of the entries by name

    def __repr__(self) -> str:
        return f"<AgreedNames {len(self._entries)}>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    async def begin(self) -> None:
        """Find the names in the store. Raises: StoreError."""
        keys = await self._store.list(PREFIX)
        self._entries = {key.removeprefix(PREFIX).removesuffix(".json"): _UNREAD for key in keys}

    async def entries(self, name: str) -> frozenset[str]:
        """Return the keys of the entries that agreed to a name. Raises: StoreError."""
        keys = self._entries.get(name, frozenset())
        if keys is not _UNREAD:
            return keys
        keys = _parse(await self._store.get(_key(name)))
        if self._entries.get(name) is _UNREAD:
            self._entries[name] = keys
        return keys

    async def add(self, name: str, entry: str) -> None:
        """Keep that an entry agreed to a name. Raises: StoreError."""
        self._entries.setdefault(name, frozenset())  # counted from now on
        before = await self.entries(name)
        if entry not in before:
            self._entries[name] = before | {entry}
            await self._store.put(_key(name), msgspec.json.encode(sorted(before | {entry})))

    async def remove(self, name: str) -> None:
        """Forget a name. Raises: StoreError."""
        await self._store.delete(_key(name))
        self._entries.pop(name, None)


def read_entries(read: Callable[[str], bytes | None], name: str) -> frozenset[str]:
    """Return the keys of the entries that agreed to a name; `read` returns the value of a key in the store.

    Raises: StoreError.
    """
    return _parse(read(_key(name)))


def is_issued(read: Callable[[str], bytes | None], wanted: Wanted) -> bool:
    """Return whether the store's certificate is one of a CA, and no stand-in. Raises: StoreError."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(read(wanted.state_key) or b"{}", type=State).is_issued
    return False


def _key(name: str) -> str:
    return f"{PREFIX}{name}.json"


def _parse(data: bytes | None) -> frozenset[str]:
    """Return the entries of a value; none for a damaged one: the application is asked again."""
    with contextlib.suppress(msgspec.MsgspecError):
        return frozenset(msgspec.json.decode(data or b"[]", type=list[str]))
    return frozenset()
