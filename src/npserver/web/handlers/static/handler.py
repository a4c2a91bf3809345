"""Serving files: which file a request means, and whether all, a part or none of it is sent.

The handler of `static` rules, made by `web.compile`. A small file asked for before is answered from the cache with a
few look-ups; the file itself is looked at again once `check_interval_s` has passed. Follows RFC 9110 §12.5.3 (codings),
§13 (conditions) and §14 (ranges)."""

from __future__ import annotations

import stat
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.errors import BadRequest
from npserver.http.conditional import CONDITIONAL_FIELDS, Outcome, evaluate, is_range_wanted
from npserver.http.negotiation import IDENTITY, rank_codings
from npserver.http.ranges import ByteRange, parse_ranges, unsatisfied_range
from npserver.http.request_target import canonical_path
from npserver.web.compression import Compressions
from npserver.web.handlers.static.byte_ranges import respond_parts, send_parts
from npserver.web.handlers.static.cache import Answer, Entry, FileCache
from npserver.web.handlers.static.files import ATTEMPTS, Files, FileSettings
from npserver.web.handlers.static.root import Lack, decode_path, is_hidden

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.static.listing import Listing
    from npserver.web.variables import Template

ALLOW = b"Allow: GET, HEAD, OPTIONS\r\n"
REMEMBERED_RANKINGS = 512  # of Accept-Encoding values
REMEMBERED_RANKING_BYTES = 256  # longer values are not

_UNRANKED = ("", "")  # no ranking of codings


class StaticSettings(Struct, frozen=True):
    """What a rule says about which file is served."""

    files: FileSettings
    prefix: str = ""  # taken off the request's path, canonical
    index: tuple[str, ...] = ("index.html",)
    browse: bool = False
    fallback: str = ""  # path below the root
    #: Paths tried in turn, or the status to end with; `$path` in them is the request's below the prefix.
    try_files: tuple[Template | int, ...] = ()
    is_path_enough: bool = True  # `try_files` asks for nothing but the path
    dotfiles: bool = False
    max_ranges: int = 16
    keys: dict[Lack, str] = field(default_factory=dict)  # config keys for the log


class _Directory(Struct, frozen=True):
    """A directory without an index; `path` lacks its slash if the request's did."""

    path: str


def _listing(settings: StaticSettings) -> Listing:
    from npserver.web.handlers.static.listing import Listing

    return Listing(settings.files.root, shows_hidden=settings.dotfiles)


class StaticHandler:
    """Serves the files of one rule."""

    __slots__ = ("_by_request", "_cache", "_compressions", "_context", "_files", "_is_direct", "_listing",
                 "_rankings", "_settings")  # fmt: skip

    def __init__(self, context: Context, settings: StaticSettings, cache: FileCache) -> None:
        self._context = context
        self._settings = settings
        self._cache = cache
        self._files = Files(settings.files, cache)
        self._by_request = self._files.shelf.by_request
        self._is_direct = not settings.try_files  # a path that names a file leads to that file and no other
        self._compressions = Compressions(context.loop)
        self._listing = _listing(settings) if settings.browse else None
        self._rankings: dict[bytes | None, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<StaticHandler {self._settings.files.root}>"

    def handle(self, exchange: Exchange) -> None:
        """Answer with a file, a listing, a redirect to a directory, or an error."""
        request = exchange.request
        if request.is_plain and (answer := self.prepared(request)) is not None:
            exchange.respond(200, answer.fields, answer.body)
        else:
            self._serve(exchange, ATTEMPTS)

    def prepared(self, request: Request) -> Answer | None:
        """Return the answer to a plain request if it is in memory and the file has not changed."""
        # hot: static-small
        entry = self._by_request.get(request.path)
        if entry is not None and (
            entry.fresh_until > monotonic()
            or (self._is_direct and self._files.is_unchanged(entry, request.path[len(self._settings.prefix) :]))
        ):
            entry.used = True
            return entry.answers.get(self._rankings.get(request.accept_encoding, _UNRANKED))
        return None

    def _serve(self, exchange: Exchange, attempts: int) -> None:
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            if request.method == "OPTIONS":
                exchange.respond(204, ALLOW)
            else:
                exchange.fail(405, fields=ALLOW)
            return
        entry = self._by_request.get(request.path)
        if entry is not None and entry.fresh_until > monotonic():
            self._answer(exchange, entry, attempts)
            return
        path = decode_path(request.path[len(self._settings.prefix) :])
        if path is None:
            self._lack(exchange, Lack.MISSING, attempts)
        elif self._settings.try_files:
            self._try_files(exchange, path, attempts)
        else:
            self._give(exchange, self._reach(path), attempts)

    # ── which file ──

    def _give(self, exchange: Exchange, found: Entry | _Directory | Lack, attempts: int) -> None:
        """Answer with what the request's path has led to."""
        if isinstance(found, Entry):
            if self._settings.is_path_enough:
                self._cache.link(exchange.request.path, found)
            self._answer(exchange, found, attempts)
        elif isinstance(found, Lack):
            self._lack(exchange, found, attempts)
        elif not found.path.endswith("/"):
            self._add_slash(exchange)
        elif self._listing is not None:
            self._listing.respond(exchange, found.path)
        else:
            self._lack(exchange, Lack.MISSING, attempts)

    def _reach(self, path: str) -> Entry | _Directory | Lack:
        """Look for the file at a path below the root."""
        if not self._settings.dotfiles and is_hidden(path):
            return Lack.MISSING
        root = self._settings.files.root
        status = root.stat(path)
        if isinstance(status, Lack):
            return status
        if stat.S_ISREG(status.st_mode):
            return self._files.entry(path, status)
        if not stat.S_ISDIR(status.st_mode):
            return Lack.MISSING
        if not root.has_directory(path):
            return Lack.OUTSIDE
        if path.endswith("/"):
            for name in self._settings.index:
                status = root.stat(path + name)
                if not isinstance(status, Lack) and stat.S_ISREG(status.st_mode):
                    return self._files.entry(path + name, status)
        return _Directory(path)

    def _try_files(self, exchange: Exchange, path: str, attempts: int) -> None:
        found: Entry | _Directory | Lack = Lack.MISSING
        for candidate in self._settings.try_files:
            if isinstance(candidate, int):
                exchange.fail(candidate)
                return
            try:
                text = canonical_path(candidate(exchange).encode("utf-8"))
            except BadRequest:
                continue
            name = decode_path(text)
            if name is None:
                continue
            found = self._reach(name)
            is_listed = isinstance(found, _Directory) and name[-1] == "/" and self._settings.browse
            if isinstance(found, Entry) or is_listed:
                if name == path + "/":
                    found = _Directory(path)  # `$path/`: send the client there, for relative links to work
                break
            found = Lack.MISSING
        self._give(exchange, found, attempts)

    def _lack(self, exchange: Exchange, lack: Lack, attempts: int) -> None:
        """Nothing is found, or it may not be served."""
        settings = self._settings
        if lack is Lack.MISSING and settings.fallback:
            found = self._reach(settings.fallback)
            if isinstance(found, Entry):
                self._answer(exchange, found, attempts)
                return
        exchange.fail(lack.status, lack.reason, settings.keys.get(lack, ""))

    def _add_slash(self, exchange: Exchange) -> None:
        """Send the client to the directory's own path, on this origin: a canonical path starts with a single slash."""
        request = exchange.request
        query = f"?{request.query}" if request.has_query else ""
        exchange.respond(301, f"Location: {request.path}/{query}\r\n".encode("latin-1"))

    # ── which representation, and how much of it ──

    def _rank(self, accept_encoding: bytes | None) -> tuple[str, ...]:
        ranking = self._rankings.get(accept_encoding)
        if ranking is None:
            ranking = rank_codings(accept_encoding, self._settings.files.offered)
            if len(accept_encoding or b"") <= REMEMBERED_RANKING_BYTES:
                if len(self._rankings) >= REMEMBERED_RANKINGS:
                    self._rankings.clear()
                self._rankings[accept_encoding] = ranking
        return ranking

    def _answer(self, exchange: Exchange, entry: Entry, attempts: int) -> None:
        """Answer with the file of an entry."""
        request = exchange.request
        ranking = self._rank(request.accept_encoding)
        fields = request.fields
        wanted = fields.get(b"range") if request.method == "GET" else None  # RFC 9110 §14.2: defined for GET only
        if wanted is not None and IDENTITY in ranking:
            ranking = (IDENTITY,)  # a range of what is compressed on the fly would not be the same tomorrow
        answer = self._files.choose(entry, ranking)
        if answer is None:
            exchange.fail(406, fields=b"Vary: Accept-Encoding\r\n")
            return
        if not fields.keys().isdisjoint(CONDITIONAL_FIELDS):
            outcome = evaluate(fields, answer.etag, entry.modified_s)
            if outcome is Outcome.NOT_MODIFIED:
                exchange.respond(304, answer.not_modified_fields)
                return
            if outcome is Outcome.FAILED:
                exchange.fail(412)
                return
        if wanted is not None and answer.coding == IDENTITY:
            now_s = self._context.wall_clock()
            if is_range_wanted(fields.get(b"if-range"), answer.etag, entry.modified_s, now_s):
                parts = parse_ranges(wanted, answer.size, self._settings.max_ranges)
                if parts is not None:
                    self._send_parts(exchange, entry, answer, parts, attempts)
                    return
        self._send(exchange, entry, answer, ranking, attempts)

    def _send(self, exchange: Exchange, entry: Entry, answer: Answer, ranking: tuple[str, ...], attempts: int) -> None:
        """Send a whole representation."""
        if answer.is_kept:
            if entry.bytes and entry.by_coding.get(answer.coding) is answer:
                entry.answers[ranking] = answer
            exchange.respond(200, answer.fields, answer.body)
        elif answer.path:
            if (opened := self._open(exchange, entry, answer, attempts)) is not None:
                exchange.send_file(200, answer.fields, opened[0], 0, opened[1])
        else:
            self._compress(exchange, entry, answer, ranking, attempts)

    def _send_parts(
        self, exchange: Exchange, entry: Entry, answer: Answer, parts: list[ByteRange], attempts: int
    ) -> None:
        if not parts:
            exchange.fail(416, fields=b"Content-Range: %b\r\n" % unsatisfied_range(answer.size))
        elif answer.is_kept:
            respond_parts(exchange, answer, entry.content_type, parts, answer.body)
        elif (opened := self._open(exchange, entry, answer, attempts)) is not None:
            send_parts(exchange, answer, entry.content_type, parts, *opened)

    def _open(self, exchange: Exchange, entry: Entry, answer: Answer, attempts: int) -> tuple[int, int] | None:
        """Open an answer's file: descriptor and size. None: it has changed, and the request is served anew."""
        opened = self._files.open(entry, answer)
        if not isinstance(opened, Lack):
            return opened
        self._again(exchange, opened, attempts)
        return None

    def _again(self, exchange: Exchange, lack: Lack, attempts: int) -> None:
        """A file is no longer what its entry says."""
        if attempts > 1 and lack is not Lack.BUSY:
            self._serve(exchange, attempts - 1)
        else:
            exchange.fail(lack.status, lack.reason)

    def _compress(
        self, exchange: Exchange, entry: Entry, answer: Answer, ranking: tuple[str, ...], attempts: int
    ) -> None:
        def done(body: bytes | None) -> None:
            if body is None:
                self._cache.drop(entry)
                self._again(exchange, Lack.CHANGING, attempts)
                return
            result = self._files.keep_compressed(entry, answer, body, ranking)
            self._send(exchange, entry, result, ranking, attempts)

        key = (entry.path, entry.identity, answer.coding)
        self._compressions.submit(key, answer.coding, entry.identity[2], lambda: self._files.read(entry), done)
