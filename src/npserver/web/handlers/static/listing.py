"""Listings of directories without an index file: an HTML page without scripts, or JSON for clients that accept it.

Called by `web.handlers.static.handler` for rules with `browse`. The directory is read in a thread, as it may be large.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from npserver.http.negotiation import choose_media_type
from npserver.regex import regex
from npserver.web.design import Design
from npserver.web.handlers.static.root import FileError, Root, file_error_of, is_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.web.exchange import Exchange

log = logging.getLogger("npserver.static")

_MEDIA_TYPES = ("text/html", "application/json")
MAX_ITEMS = 10_000  # shown in a listing; of the rest only the number is shown

_DESIGN = Design(
    "h1{font-size:1.2rem;font-weight:600}h1 a{text-decoration:none}ul{list-style:none;padding:0;margin:0}"
    "li{border-top:1px solid var(--line)}"
    "li a{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.6rem .2rem;text-decoration:none;color:inherit}"
    "li a:hover,li a:focus{background:var(--card)}"
    ".o a{display:inline-block;padding:.6rem 1rem .6rem .2rem}"
    ".n{flex:1 1 12rem}.d .n{font-weight:600}"
    ".s,.t{font-variant-numeric:tabular-nums;font-size:.9rem}.s{min-width:5rem;text-align:right}"
    ".s,.t,p{color:var(--soft)}@media(max-width:34rem){.n{flex-basis:100%}.s{min-width:0}}"
)
_FIELDS = (
    b"Content-Type: %b\r\nVary: Accept\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
    + _DESIGN.policy_line
)
_BODY = """<h1 class="mark">{crumbs}</h1>
<p class="o">{sorting}</p>
<ul>
{items}</ul>
<p>{summary}</p>"""
_ITEM = (
    '<li{kind}><a href="{link}"><span class="n">{name}</span>'
    '<time class="t" datetime="{iso}">{date}</time><span class="s">{size}</span></a></li>\n'
)
_SORTS = {"name": "Name", "time": "Date", "size": "Size"}  # value in the query: word on the page
_DIGITS = regex(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Item:
    """One file or directory in a listing."""

    name: str
    is_directory: bool
    size: int  # bytes
    modified_s: int

    @property
    def name_key(self) -> list[tuple[int, str]]:
        """A sort key in natural order: `a2` before `a10`."""
        parts = enumerate(_DIGITS.split(self.name.casefold()))  # text and digits in turn
        return [(int(part[:300]) if index % 2 else 0, part) for index, part in parts]


@dataclass(frozen=True, slots=True)
class Ordering:
    """The sort order of a page. Directories always come first, and have no size."""

    by: str = "name"  # a key of `_SORTS`
    is_descending: bool = False

    @classmethod
    def of(cls, query: str) -> Ordering:
        """Parse a query such as `sort=size&order=asc`; unknown values are ignored. Size and date descend by default."""
        asked = dict(parse_qsl(query))
        by = asked.get("sort", "")
        if by not in _SORTS:
            by = "name"
        order = asked.get("order", "")
        return cls(by, order == "desc" if order in ("asc", "desc") else by != "name")

    def sort(self, items: list[Item]) -> None:
        """Sort in place; equal items are in the order of their names."""
        items.sort(key=lambda item: item.name_key, reverse=self.is_descending and self.by == "name")
        if self.by == "size":
            items.sort(key=lambda item: 0 if item.is_directory else item.size, reverse=self.is_descending)
        elif self.by == "time":
            items.sort(key=lambda item: item.modified_s, reverse=self.is_descending)
        items.sort(key=lambda item: not item.is_directory)

    def links(self) -> str:
        """Return the links that sort the page; the link of the current order reverses it."""
        links = []
        for by, word in _SORTS.items():
            is_current = by == self.by
            descends = not self.is_descending if is_current else by != "name"
            mark = f' aria-current="true">{word} {"▼" if self.is_descending else "▲"}' if is_current else f">{word}"
            links.append(f'<a href="?sort={by}&amp;order={"desc" if descends else "asc"}"{mark}</a>')
        return "\n".join(links)


BY_NAME = Ordering()


class Listing:
    """The listings of one rule's directories."""

    __slots__ = ("_root", "_shows_hidden")

    def __init__(self, root: Root, *, shows_hidden: bool) -> None:
        self._root = root
        self._shows_hidden = shows_hidden

    def respond(self, exchange: Exchange, path: str, refuse: Callable[[Exchange, FileError], None]) -> None:
        """Respond with the listing of the directory `path` (below the root, ending in a slash) once it is read.

        `refuse` answers if it cannot be read.
        """
        request = exchange.request
        is_json = choose_media_type(request.fields.get(b"accept"), _MEDIA_TYPES) == _MEDIA_TYPES[1]
        ordering = BY_NAME if is_json else Ordering.of(request.query)

        def done(future: asyncio.Future[list[Item] | FileError]) -> None:
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                log.error("cannot list directory %s", path, exc_info=error)
                exchange.fail(500, "internal error while listing a directory")
                return
            items = future.result()
            if isinstance(items, FileError):
                refuse(exchange, items)
            else:
                exchange.respond(200, *render(items, request.path, None if is_json else ordering))

        exchange.context.loop.run_in_executor(None, self.read, path, ordering).add_done_callback(done)

    def read(self, path: str, ordering: Ordering = BY_NAME) -> list[Item] | FileError:
        """Return the items of a directory that may be served, sorted."""
        try:
            with os.scandir(self._root.directory + path) as names:
                items = [item for one in names if (item := self._item(path, one)) is not None]
        except OSError as error:
            return file_error_of(error)
        ordering.sort(items)
        return items

    def _item(self, path: str, one: os.DirEntry[str]) -> Item | None:
        if not self._shows_hidden and is_hidden(f"/{one.name}"):
            return None
        try:
            status = one.stat()
            is_link_inside = not one.is_symlink() or self._root.has(path + one.name)
        except OSError:
            return None
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_link_inside or not (is_directory or stat.S_ISREG(status.st_mode)):
            return None
        return Item(one.name, is_directory, status.st_size, int(status.st_mtime))


def render(items: list[Item], path: str, ordering: Ordering | None) -> tuple[bytes, bytes]:
    """Return the fields and the body of a listing.

    Args:
        path: canonical path of the request, ending in a slash.
        ordering: the order of the items, for the links of a page; None for JSON.
    """
    shown, rest = items[:MAX_ITEMS], max(0, len(items) - MAX_ITEMS)
    if ordering is None:
        body = _render_json(shown, path, rest)
        return _FIELDS % b"application/json", body
    return _FIELDS % b"text/html; charset=utf-8", _render_page(shown, path, rest, ordering)


def _render_json(items: list[Item], path: str, rest: int) -> bytes:
    entries = [
        {
            "name": _shown(item.name),
            "type": "directory" if item.is_directory else "file",
            "size": None if item.is_directory else item.size,
            "modified": _iso(item.modified_s),
            "href": _link(item),
        }
        for item in items
    ]
    return json.dumps({"path": path, "entries": entries, "omitted": rest}, ensure_ascii=False).encode() + b"\n"


def _render_page(items: list[Item], path: str, rest: int, ordering: Ordering) -> bytes:
    lines = ['<li class="d"><a href="../"><span class="n">../</span></a></li>\n'] if path != "/" else []
    lines += [
        _ITEM.format(
            kind=' class="d"' if item.is_directory else "",
            link=_link(item),
            name=html.escape(_shown(item.name)) + ("/" if item.is_directory else ""),
            iso=_iso(item.modified_s),
            date=_iso(item.modified_s)[:16].replace("T", " "),
            size="" if item.is_directory else readable_size(item.size),
        )
        for item in items
    ]
    directories = sum([item.is_directory for item in items])
    files = len(items) - directories
    summary = f"{_counted(directories, 'directory', 'directories')}, {_counted(files, 'file', 'files')}"
    if rest:
        summary += f", and {rest} more that are not shown"
    body = _BODY.format(crumbs=_crumbs(path), sorting=ordering.links(), items="".join(lines), summary=summary)
    return _DESIGN.page(html.escape(_decoded(path)), body).encode()


def _crumbs(path: str) -> str:
    """Return the path as HTML, with a link for each directory in it."""
    segments = path.strip("/").split("/") if path != "/" else []
    links = ['<a href="/">/</a>']
    for index, segment in enumerate(segments):
        link = "../" * (len(segments) - index - 1) or "./"
        links.append(f'<a href="{link}">{html.escape(_decoded(segment))}/</a>')
    return "".join(links)


def readable_size(size: int) -> str:
    """Return a size such as `512 B`, `1.5 KB` or `20 MB`, in powers of 1024."""
    number = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


def _link(item: Item) -> str:
    """Return a relative link. No name can turn it into one to another scheme, host or directory."""
    return "./" + quote(os.fsencode(item.name), safe="") + ("/" if item.is_directory else "")


def _shown(name: str) -> str:
    """Return a name as valid Unicode, whatever its bytes."""
    return os.fsencode(name).decode("utf-8", "replace")


def _decoded(path: str) -> str:
    return unquote(path, errors="replace")


def _iso(modified_s: int) -> str:
    try:
        return datetime.fromtimestamp(modified_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00Z"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
