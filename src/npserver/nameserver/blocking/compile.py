"""Compiles `dns_block`: its entries, their lists as far as they are known, and the service that follows these."""

from __future__ import annotations

import contextlib
import os
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.config.networks import compile_networks
from npserver.config.report import key_of, placed
from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, parse_owner, to_text
from npserver.dns.zone.public_suffix import is_registry
from npserver.dns.zone.tables import ancestors
from npserver.errors import StoreError, clip
from npserver.guess import get_close_matches
from npserver.nameserver.blocking.answers import BlockedAnswer
from npserver.nameserver.blocking.block_list import LISTS, BlockList, ListSource, Published, ReadList, read_list
from npserver.nameserver.blocking.blocker import Blocker, Blocking, UsedList
from npserver.nameserver.blocking.checks import check_entries, check_limits
from npserver.nameserver.blocking.config import DnsBlock
from npserver.nameserver.blocking.kept import recall
from npserver.nameserver.blocking.service import BlockListService
from npserver.runtime.compilation import READS_LARGE_DATA, RUNS_SERVICES, PerCompilation
from npserver.runtime.pubsub import Withdrawing
from npserver.sources.compile import check_url
from npserver.sources.source import DataError, read_file, stamp_of
from npserver.sources.states import BLOCK_LISTS, publish_states
from npserver.store.compile import STORE

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.nameserver.blocking.block_list import BlockLists
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.pubsub import PubSub

MAX_TTL_S = 86_400
ANSWERS = ("nxdomain", "nodata", "zero", "refused")
_ZERO: dict[int, tuple[bytes, ...]] = {codes.A: (bytes(4),), codes.AAAA: (bytes(16),)}


class Work(Struct):
    """What is collected while the entries are compiled."""

    lists: dict[str, BlockList] = field(default_factory=dict)  # by the digest of the source
    read: dict[str, tuple[ReadList, float]] = field(default_factory=dict)  # by key
    names: list[tuple[Path, bytes]] = field(default_factory=list)  # those of `allow` and `block`


def _compile(compilation: Compilation) -> Blocking:
    config, report = compilation.config, compilation.report
    given = config.dns_block
    if given is None:
        lists = LISTS.of(compilation.context)
        compilation.services.append(Withdrawing(compilation.context.pubsub, lambda pubsub: _forget(pubsub, lists)))
        return Blocking()
    placed_entries: list[tuple[Path, DnsBlock]] = [(("dns_block",), given)] if isinstance(given, DnsBlock) else []
    if isinstance(given, list):
        placed_entries = [(("dns_block", index), one) for index, one in enumerate(given)]
    check_entries(report, placed_entries)
    if RUNS_SERVICES.of(compilation.context):
        is_registry(b"co.uk")  # reads the list of public suffixes, which another user may be unable to do later
    work, entries = Work(), []
    for path, entry in placed_entries:
        networks = compile_networks(report, (*path, "from"), entry.from_)
        entries.append((networks, _compile_entry(compilation, path, entry, work)))
    lists_in_use = list(work.lists.values())
    needs_store = any(one.source.kind == "url" for one in lists_in_use)
    store = STORE.of(compilation) if needs_store else None
    compilation.services.append(BlockListService(compilation.context, store, lists_in_use, work.read))
    return Blocking(entries, work.names)


#: What `dns_block` compiles to.
BLOCKING = PerCompilation(_compile)


def _forget(pubsub: PubSub, lists: BlockLists) -> None:
    lists.withdraw()
    publish_states(pubsub, BLOCK_LISTS, [])


def _compile_entry(compilation: Compilation, path: Path, entry: DnsBlock, work: Work) -> Blocker:
    report = compilation.report
    allow = _names(report, (*path, "allow"), entry.allow, work)
    block = _names(report, (*path, "block"), entry.block, work)
    for key, place in block.items():
        winner = next((allow[one] for one in ancestors(key) if one in allow), None)
        if winner is not None:
            report.warn(place, f"{clip(to_text(key))} is not blocked: {key_of(winner)} wins")
    answer = _answer(report, path, entry)
    lists = _lists(compilation, path, entry, work)
    return Blocker(
        key_of(path),
        lists,
        {key: key_of(place) for key, place in allow.items()},
        {key: key_of(place) for key, place in block.items()},
        answer,
        compilation.context.row,
    )


def _names(report: Report, path: Path, names: str | list[str], work: Work) -> dict[bytes, Path]:
    """Return the names of `allow` or `block` in wire form, and where each stands."""
    found: dict[bytes, Path] = {}
    for place, text in placed(path, names):
        try:
            key = parse_owner(text.removeprefix("*.")).lower()
        except ValueError as error:
            report.error(place, str(error))
            continue
        if key == ROOT:
            report.error(place, f"{clip(text)} stands for every name: write the names themselves")
        elif key in found:
            report.warn(place, f"{clip(text)} is given twice")
        else:
            found[key] = place
            work.names.append((place, key))
        if text.startswith("*."):
            report.warn(place, f"names below are meant anyway, and the name itself too: write {clip(text[2:])}")
    return found


def _answer(report: Report, path: Path, entry: DnsBlock) -> BlockedAnswer:
    ttl = int(entry.ttl)
    if not 1 <= ttl <= MAX_TTL_S:
        report.error((*path, "ttl"), f"'ttl': expected 1 s to {MAX_TTL_S} s, got {float(entry.ttl):g} s")
    texts = placed((*path, "answer"), entry.answer)
    if len(texts) == 1 and texts[0][1] in ANSWERS:
        name = texts[0][1]
        return BlockedAnswer(name, ttl, _ZERO if name == "zero" else {})
    addresses: dict[int, tuple[bytes, ...]] = {}
    for place, text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            one_of = f"expected one of {', '.join(ANSWERS)}, or addresses of a page, got {clip(text)}"
            close = get_close_matches(text, ANSWERS, 1)
            report.error(place, one_of + (f", did you mean {close[0]!r}?" if close else ""))
            continue
        kind = codes.A if isinstance(address, IPv4Address) else codes.AAAA
        addresses[kind] = (*addresses.get(kind, ()), address.packed)
    if not texts:
        report.error((*path, "answer"), f"'answer' is empty: write one of {', '.join(ANSWERS)}, or leave it out")
    return BlockedAnswer("address", ttl, addresses)


def _lists(compilation: Compilation, path: Path, entry: DnsBlock, work: Work) -> list[UsedList]:
    """Return the lists of an entry, as far as they are known now."""
    report, row = compilation.report, compilation.context.row
    check_limits(report, path, entry)
    found: dict[str, UsedList] = {}
    for place, text in placed((*path, "lists"), entry.lists):
        if not text.strip():
            report.error(place, "the name of a list is empty: write a file or a URL")
            continue
        is_url = "://" in text
        if is_url:
            check_url(report, place, text, "a list", "hosts.txt")
        source = ListSource(
            kind="url" if is_url else "file",
            place=text if is_url else os.path.abspath(os.path.join(report.document.directory, text)),
            max_bytes=int(entry.max_size),
            refresh_s=float(entry.refresh),
            timeout_s=float(entry.timeout),
            max_names=entry.max_names,
        )
        key = key_of(place)
        if source.digest in found:
            report.warn(place, f"{clip(source.shown if is_url else text)} is given twice")
            continue
        one = work.lists.get(source.digest)
        if one is None:
            one = work.lists[source.digest] = LISTS.of(compilation.context).find(source, key)
            _look_at(compilation, place, text, one, work)
        slot = row.slot(f"dns.block_lists.{key} {source.shown}")
        found[source.digest] = UsedList(key, one, slot)
    return list(found.values())


def _look_at(compilation: Compilation, place: Path, text: str, one: BlockList, work: Work) -> None:
    """Read a list in a check, and once at a start. While the server runs, its service reads them."""
    context, report = compilation.context, compilation.report
    is_check, runs = READS_LARGE_DATA.of(context), RUNS_SERVICES.of(context)
    is_start = runs and not LISTS.of(context).is_served and not one.at
    if one.source.kind == "file" and not is_start:
        if stamp_of(one.source) is None:
            report.check_error(place, f"no file {clip(text)}: write it, or take it from 'lists'")
        elif is_check:
            try:
                _, read = _read(compilation, one)
            except DataError as error:
                report.check_error(place, str(error))
            else:
                for remark in read.remarks:
                    report.warn(place, remark)
                one.use(Published(read.table.layout, 1.0))
                work.read[one.key] = read, 1.0
    elif is_start:
        with contextlib.suppress(DataError, StoreError):  # the service says so
            at, read = _read(compilation, one)
            one.use(Published(read.table.layout, at, stamp=read.stamp))
            work.read[one.key] = read, at


def _read(compilation: Compilation, one: BlockList) -> tuple[float, ReadList]:
    """Return the date and the content of a file, or of the last good list of a URL. Raises: DataError, StoreError."""
    source, file = one.source, compilation.context.row.board.shared_file
    if source.kind == "file":
        stamp, data = read_file(source)
        return stamp.modified_at, read_list(data, source, file, stamp)
    store = STORE.of(compilation)
    kept = None if store is None else recall(store.files.read, source)
    if kept is None:
        raise DataError("there is no list yet")
    body, at = kept
    return at, read_list(body, source, file)
