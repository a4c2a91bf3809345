"""Keeps the block lists up to date, in the controller: fetches URLs, watches files, publishes the tables."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.errors import StoreError
from npserver.nameserver.blocking.block_list import LISTS, BlockList, ReadList, read_list
from npserver.nameserver.blocking.kept import keep
from npserver.sources.following import Following
from npserver.sources.source import FileStamp
from npserver.sources.states import BLOCK_LISTS, SetState, publish_states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")


class BlockListService(Following[BlockList, ReadList]):
    """The service. `read`: the lists that were read while the config was compiled, by key, and their dates."""

    missing = "it blocks nothing yet"
    at_once = 2

    def __init__(
        self,
        context: Context,
        store: Store | None,
        lists: Sequence[BlockList],
        read: Mapping[str, tuple[ReadList, float]],
    ) -> None:
        super().__init__(context, lists)
        self._store = store
        self._read_before = dict(read)
        self._file = context.row.board.shared_file
        self._is_over = False

    async def run(self) -> None:
        """Run until cancelled."""
        lists = LISTS.of(self.context)
        lists.is_served = True
        lists.withdraw(frozenset([one.source.topic for one in self.followed]))
        for one in self.followed:
            if one.key in self._read_before:
                found, at = self._read_before.pop(one.key)
                self._put_in_force(one, found, at)
        self.tell()
        self._is_over = False
        try:
            await self.follow()
        finally:
            self._is_over = True  # what threads still read is dropped

    def is_known(self, one: BlockList, stamp: FileStamp) -> bool:
        """Whether the table in force is that of a file in this state."""
        return one.stamp == stamp

    def parse(self, one: BlockList, data: bytes, stamp: FileStamp | None) -> ReadList:
        """Read a list, in a thread. Raises: DataError."""
        return read_list(data, one.source, self._file, stamp, lambda: self._is_over)

    async def take(self, one: BlockList, found: ReadList, at: float) -> None:
        """Put what was read in force everywhere, and keep the list of a URL."""
        self._put_in_force(one, found, at)
        self.tell()
        if self._store is not None and found.body:
            try:
                await keep(self._store, one.source, found.body, at)
            except StoreError as error:
                log.warning("%s: the list cannot be kept over a restart: %s", one.key, error)

    def tell(self) -> None:
        """Publish the states of all."""
        states = [
            SetState(one.key, one.source.shown, one.names, one.at, self.errors.get(one.key, ""))
            for one in self.followed
        ]
        publish_states(self.context.pubsub, BLOCK_LISTS, states)

    def _put_in_force(self, one: BlockList, found: ReadList, at: float) -> None:
        LISTS.of(self.context).publish(one, found, at)
        log.info("%s: %d %s from %s", one.key, one.names, "name" if one.names == 1 else "names", one.source.shown)
        for remark in found.remarks:
            log.info("%s: %s", one.key, remark)
