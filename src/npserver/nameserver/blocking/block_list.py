"""The block lists of a process: what is known of each, and its table. The controller publishes where the tables are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError, Struct, convert, to_builtins

from npserver.dns.zone.public_suffix import is_registry
from npserver.nameserver.blocking.list_format import ListReader, name_hash
from npserver.nameserver.blocking.table import BuiltTable, Layout, Table, build_table
from npserver.runtime.context import PerProcess
from npserver.sources.source import DataError, FileStamp, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.context import Context
    from npserver.runtime.pubsub import PubSub
    from npserver.runtime.shared_file import Region, SharedFile

TOPICS = "dns_block:lists:"  # the topics of the lists begin with it
FREE_AFTER_S = 10.0  # until the memory of a former table is freed: by then all processes use the new one
#: Tells processes whose hashes are others; there are none, as all are forked from one.
CHECK = name_hash(b"npserver")


class ListSource(Source, frozen=True):
    """Where a list comes from."""

    max_names: int = 0

    @property
    def topic(self) -> str:
        """The topic of its table."""
        return TOPICS + self.digest


class Published(Struct, frozen=True):
    """What all processes are told of a list."""

    layout: Layout
    at: float
    check: int = CHECK
    stamp: FileStamp | None = None  # of the file that was read


class ReadList(Struct):
    """What was read of a list; the memory of its table is freed with it, unless it is published."""

    table: BuiltTable
    remarks: list[str]  # what the operator should know of it
    body: bytes  # of a URL, to be kept
    stamp: FileStamp | None = None


def read_list(
    data: bytes,
    source: ListSource,
    file: SharedFile,
    stamp: FileStamp | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> ReadList:
    """Read a list and build its table. `stamp`: of its file; `is_over`: see `build_table`.

    Raises: DataError; InterruptedError.
    """
    reader = ListReader(source.max_names, is_registry, is_over)
    try:
        reader.read(data)
        table = build_table(file, reader.hashes, is_over)
    except ValueError as error:
        raise DataError(f"the list is not used: {error}") from None
    except InterruptedError:
        raise
    except OSError as error:
        raise DataError(f"no memory for the names of the list: {error.strerror}") from None
    return ReadList(table, reader.remarks(), data if source.kind == "url" else b"", stamp)


class BlockList:
    """One list. It lives on over reloads that keep its source."""

    __slots__ = ("_file", "at", "key", "names", "source", "stamp", "table")

    def __init__(self, source: ListSource, key: str, file: SharedFile) -> None:
        self.source = source
        self.key = key
        self._file = file
        self.at = 0.0
        self.names = 0
        self.stamp: FileStamp | None = None
        self.table: Table | None = None

    def __repr__(self) -> str:
        return f"<BlockList {self.key} {self.names} names>"

    @property
    def section_key(self) -> str:
        """The key of the section that has its limits."""
        return self.key.rpartition(".")[0]

    @property
    def source_key(self) -> str:
        """The key that names the file or the URL."""
        return self.key

    def use(self, published: Published) -> None:
        """Put a table in force in this process. Raises: OSError."""
        self.table = Table(self._file, published.layout)
        self.names, self.at, self.stamp = published.layout.count, published.at, published.stamp

    def take(self, value: Any) -> None:
        """Use what the controller has published; None: the list is gone from the config."""
        if value is None:
            self.table, self.names, self.at, self.stamp = None, 0, 0.0, None
            return
        try:
            published = convert(value, Published)
        except MsgspecError:
            return
        if published.check == CHECK and (self.table is None or self.table.layout != published.layout):
            self.use(published)
        self.at = published.at


class BlockLists:
    """Those of a process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = context.row.board.shared_file
        self._lists: dict[str, BlockList] = {}
        self.is_served = False  # the service has begun: lists are read by it, and no longer while a config is compiled

    def find(self, source: ListSource, key: str) -> BlockList:
        """Return the list of a source, which follows what the controller publishes."""
        found = self._lists.get(source.digest)
        if found is None:
            found = self._lists[source.digest] = BlockList(source, key, self._file)
            self._context.pubsub.subscribe(source.topic, found.take)
        found.source, found.key = source, key
        return found

    # ── in the controller ──

    def publish(self, one: BlockList, read: ReadList, at: float) -> None:
        """Put what was read in force everywhere."""
        before = self._region(one.source.topic)
        self.announce(one, Published(read.table.keep(), at, stamp=read.stamp))
        if before is not None:
            self._free_later(before)

    def announce(self, one: BlockList, published: Published) -> None:
        """Tell all processes of a table."""
        self._context.pubsub.publish(one.source.topic, to_builtins(published))

    def withdraw(self, kept: frozenset[str] = frozenset()) -> None:
        """Withdraw the lists that a former config had. `kept`: the topics of the present one."""
        pubsub = self._context.pubsub
        for topic in published_topics(pubsub) - kept:
            before = self._region(topic)
            pubsub.publish(topic, None)
            if before is not None:
                self._free_later(before)

    def _region(self, topic: str) -> Region | None:
        value = self._context.pubsub.latest.get(topic)
        return None if value is None else convert(value, Published).layout.region

    def _free_later(self, region: Region) -> None:
        self._context.loop.call_later(FREE_AFTER_S, self._file.free, region)


def published_topics(pubsub: PubSub) -> frozenset[str]:
    """Return the topics of the lists that are published."""
    return frozenset(
        [topic for topic, value in pubsub.latest.items() if topic.startswith(TOPICS) and value is not None]
    )


#: The lists of a process.
LISTS = PerProcess(BlockLists)
