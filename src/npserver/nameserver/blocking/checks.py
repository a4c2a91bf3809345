"""What can be wrong with `dns_block` beyond its names and lists: entries, limits, and zones of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.dns.message.name import to_text
from npserver.dns.zone.tables import ancestors
from npserver.errors import clip
from npserver.nameserver.blocking.config import DnsBlock
from npserver.nameserver.blocking.list_format import Action
from npserver.nameserver.blocking.table import hashes_of
from npserver.nameserver.config import DnsRule
from npserver.sources.compile import check_refresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from npserver.config.report import Path, Report
    from npserver.dns.zone.tables import Tables
    from npserver.nameserver.blocking.blocker import Blocking

MAX_LIST_BYTES = 256 << 20
MAX_OWN_NAMES = 10_000  # of our zones, that are looked for in lists
MAX_SHOWN = 3


def check_entries(report: Report, entries: Sequence[tuple[Path, DnsBlock]]) -> None:
    """Report entries that have no effect."""
    config = report.document.config
    if config.dns_forward is None:
        report.warn(
            ("dns_block",), "'dns_block' has no effect: it needs 'dns_forward', as our own zones are not blocked"
        )
    elif not any(isinstance(rule, DnsRule) for rule in config.dispatch):
        report.warn(("dns_block",), "'dns_block' has no effect: no rule has handler 'dns'")
    if not entries:
        report.warn(("dns_block",), '\'dns_block\' is empty: write an entry such as {"lists": ["hosts.txt"]}')
    for number, (path, entry) in enumerate(entries):
        for_all = next((before for before, one in entries[:number] if not one.from_), None)
        if for_all is not None:
            report.warn(path, "this entry is never used: one before it is for all clients; write it last")
        is_exemption = bool(entry.from_) and number + 1 < len(entries)
        if not entry.lists and not entry.block and not is_exemption:
            remedy = "name a list in 'lists' or names in 'block'"
            if entry.allow:
                report.error((*path, "allow"), f"'allow' has no effect, as nothing is blocked: {remedy}")
            else:
                report.error(path, f"nothing is blocked: {remedy}")


def check_limits(report: Report, path: Path, entry: DnsBlock) -> None:
    """Report sizes and times that cannot be meant."""
    urls = [text for _, text in placed(path, entry.lists) if "://" in text]
    default = DnsBlock()
    if not 0 < entry.max_size <= MAX_LIST_BYTES:
        report.error((*path, "max_size"), f"'max_size': expected at most {MAX_LIST_BYTES >> 20}m")
    if urls:
        is_local = all(text.startswith("http://127.") for text in urls)
        check_refresh(report, (*path, "refresh"), float(entry.refresh), is_local=is_local)
        return
    for key in ("refresh", "timeout"):
        if getattr(entry, key) != getattr(default, key):
            report.warn((*path, key), f"{key!r} has no effect: no list is a URL; files are looked at every 2 s")
    if not entry.lists:
        for key in ("max_size", "max_names"):
            if getattr(entry, key) != getattr(default, key):
                report.warn((*path, key), f"{key!r} has no effect: there are no lists")


def check_own_names(report: Report, blocking: Blocking, views: Iterable[Tables], *, with_lists: bool) -> None:
    """Warn of names in zones of ours: they are answered from there, whatever `dns_block` says.

    `with_lists`: those in lists too, as far as they have been read.
    """
    tables = list(views)
    for path, key in blocking.names:
        zone = next((one for one in ancestors(key) if all(one in view.zones for view in tables)), None)
        if zone is not None:
            what = "is not blocked" if "block" in path[1:] else "need not be allowed"
            report.warn(path, f"{clip(to_text(key))} {what}: it is in our own zone {to_text(zone)}")
    if not with_lists:
        return
    found: dict[str, list[str]] = {}
    names = dict.fromkeys([key for view in tables for key in view.nodes])
    for key in list(names)[:MAX_OWN_NAMES]:
        hashes = hashes_of(key)
        for _, blocker in blocking.entries:
            for used in blocker.lists:
                table = used.list.table
                entry = None if table is None else table.find(hashes)
                if entry is not None and entry[0] < Action.PASS:
                    found.setdefault(used.key, []).append(to_text(key))
    for place, listed in found.items():
        shown = ", ".join(dict.fromkeys(listed[:MAX_SHOWN]))
        report.warn(_path(place), f"the list has names of our own zones, which are answered all the same: {shown}")


def _path(key: str) -> Path:
    """Return the path of a key such as `dns_block[0].lists[1]`."""
    parts = key.replace("]", "").replace("[", ".").split(".")
    return tuple([int(part) if part.isdigit() else part for part in parts])
