"""The handler of `static` rules: finds the file of a request, and sends all, parts or nothing of it.

Made by `web.handlers.static.compile`. A small file requested before is sent from the cache after a few look-ups; the
file itself is checked again after `file_cache.check_interval`. Follows RFC 9110 §12.5.3 (content codings), §13
(conditional requests) and §14 (ranges).
"""

from __future__ import annotations

import logging
import stat
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import BadRequest
from npserver.http.conditional import CONDITIONAL_FIELDS, Outcome, evaluate, is_range_wanted
from npserver.http.negotiation import IDENTITY, rank_codings
from npserver.http.ranges import ByteRange, parse_ranges, unsatisfied_range
from npserver.http.request_target import canonical_path
from npserver.web.compression import Compressions
from npserver.web.handlers.static.byte_ranges import respond_parts, send_parts
from npserver.web.handlers.static.cache import Entry, Representation, RepresentationCache
from npserver.web.handlers.static.files import ATTEMPTS, Files, FileSettings
from npserver.web.handlers.static.root import FileError, decode_path, is_hidden
from npserver.web.slash_redirect import add_slash

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.static.config import StaticRule
    from npserver.web.handlers.static.listing import Listing
    from npserver.web.variables import Template

ALLOW = b"Allow: GET, HEAD, OPTIONS\r\n"
RANKING_CACHE_SIZE = 512  # Accept-Encoding values whose ranking of codings is cached
MAX_CACHED_RANKING_BYTES = 256  # longer Accept-Encoding values are not cached

_UNRANKED = ("", "")  # no ranking of codings
_UNASKED = (IDENTITY, "gzip")  # the ranking without Accept-Encoding: any coding is acceptable (RFC 9110 §12.5.3)


class StaticSettings(Struct, frozen=True):
    """The settings of a rule for choosing the file of a request."""

    files: FileSettings
    prefix: str  # canonical, removed from the request's path
    index: tuple[str, ...]
    fallback: str  # path below the root
    #: Paths to try in order; a status ends the search. `$path` is the path of the request below the prefix.
    try_files: tuple[Template | int, ...]
    is_path_enough: bool  # whether `try_files` depends on the path alone
    max_ranges: int
    keys: dict[FileError, str]  # config keys to name in the log

    @property
    def rule(self) -> StaticRule:
        """The section of the rule."""
        return self.files.rule


class _Directory(Struct, frozen=True):
    """A directory without an index file. `path` ends with a slash if that of the request did."""

    path: str


def _listing(settings: StaticSettings) -> Listing:
    from npserver.web.handlers.static.listing import Listing

    return Listing(settings.files.root, shows_hidden=settings.rule.dotfiles)


class StaticHandler:
    """Serves the files of one rule."""

    __slots__ = ("_by_request", "_compressions", "_files", "_is_direct", "_listing", "_rankings", "cache", "context",
                 "settings")  # fmt: skip

    def __init__(self, context: Context, settings: StaticSettings, cache: RepresentationCache) -> None:
        self.context = context
        self.settings = settings
        self.cache = cache
        self._files = Files(settings.files, cache)
        self._by_request = self._files.table.by_request
        self._is_direct = not settings.try_files  # whether a path can only lead to the file of that name
        self._compressions = Compressions(context.loop)
        self._listing = _listing(settings) if settings.rule.browse else None
        self._rankings: dict[bytes | None, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<StaticHandler {self.settings.files.root}>"

    def handle(self, exchange: Exchange) -> None:
        """Respond with a file, a listing, a redirect to a directory, or an error."""
        request = exchange.request
        if request.is_plain and (representation := self.prepared(request)) is not None:
            exchange.respond(200, representation.fields, representation.body)
        else:
            self._serve(exchange, ATTEMPTS)

    def prepared(self, request: Request) -> Representation | None:
        """Return the representation for a plain request if it is in memory and the file has not changed."""
        # hot: static-small
        entry = self._by_request.get(request.path)
        if entry is not None and (
            entry.fresh_until > monotonic()
            or (self._is_direct and self._files.is_unchanged(entry, request.path[len(self.settings.prefix) :]))
        ):
            entry.used = True
            return entry.by_ranking.get(self._rankings.get(request.accept_encoding, _UNRANKED))
        return None

    def _serve(self, exchange: Exchange, attempts: int) -> None:
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            if request.method == "OPTIONS":
                exchange.respond(204, ALLOW)
            else:
                exchange.fail(405, "files can only be read", fields=ALLOW)
            return
        entry = self._by_request.get(request.path)
        if entry is not None and entry.fresh_until > monotonic():
            self._answer(exchange, entry, attempts)
            return
        path = decode_path(request.path[len(self.settings.prefix) :])
        if path is None:
            self._fail(exchange, FileError.MISSING, attempts)
        elif self.settings.try_files:
            self._try_files(exchange, path, attempts)
        else:
            self._answer_found(exchange, self._find(path), attempts)

    # ── finding the file ──

    def holds(self, path: str) -> bool:
        """Return whether the path of a request leads to a file: not to a directory, not to nothing."""
        below = decode_path(path[len(self.settings.prefix) :])
        return below is not None and isinstance(self._find(below), Entry)

    def _answer_found(self, exchange: Exchange, found: Entry | _Directory | FileError, attempts: int) -> None:
        """Respond with the file, directory or error found for the path of the request."""
        if isinstance(found, Entry):
            if self.settings.is_path_enough:
                self.cache.link(exchange.request.path, found)
            self._answer(exchange, found, attempts)
        elif isinstance(found, FileError):
            self._fail(exchange, found, attempts)
        elif not found.path.endswith("/"):
            add_slash(exchange)
        elif self._listing is not None:
            self._listing.respond(exchange, found.path, self._refuse)
        else:
            self._fail(exchange, FileError.UNLISTED, attempts)

    def _find(self, path: str) -> Entry | _Directory | FileError:
        """Find the file at a path below the root, or the index file of a directory."""
        if not self.settings.rule.dotfiles and is_hidden(path):
            return FileError.HIDDEN
        root = self.settings.files.root
        status = root.stat(path)
        if isinstance(status, FileError):
            return status
        if stat.S_ISREG(status.st_mode):
            return self._files.entry(path, status)
        if not stat.S_ISDIR(status.st_mode):
            return FileError.MISSING
        if not root.has(path):
            return FileError.OUTSIDE
        if path.endswith("/"):
            for name in self.settings.index:
                status = root.stat(path + name)
                if status is FileError.FORBIDDEN:
                    return FileError.FORBIDDEN  # the directory may not be searched
                if not isinstance(status, FileError) and stat.S_ISREG(status.st_mode):
                    return self._files.entry(path + name, status)
        return _Directory(path)

    def _try_files(self, exchange: Exchange, path: str, attempts: int) -> None:
        found: Entry | _Directory | FileError = FileError.MISSING
        error = FileError.MISSING
        for candidate in self.settings.try_files:
            if isinstance(candidate, int):
                key = self.settings.keys[FileError.MISSING]
                exchange.fail(candidate, "none of the files to try exists", key, level=logging.DEBUG)
                return
            try:
                text = canonical_path(candidate(exchange).encode("utf-8"))
            except BadRequest:
                continue
            name = decode_path(text)
            if name is None:
                continue
            found = self._find(name)
            is_listed = isinstance(found, _Directory) and name[-1] == "/" and self.settings.rule.browse
            if isinstance(found, Entry) or is_listed:
                if name == path + "/":
                    found = _Directory(path)  # `$path/`: redirect the client there, for relative links to work
                break
            if found is FileError.FORBIDDEN:
                error = FileError.FORBIDDEN
            found = error
        self._answer_found(exchange, found, attempts)

    def _fail(self, exchange: Exchange, error: FileError, attempts: int) -> None:
        """Respond with the fallback file if nothing was found and there is one, else with an error."""
        settings = self.settings
        if error.status == 404 and settings.fallback:
            found = self._find(settings.fallback)
            if isinstance(found, Entry):
                self._answer(exchange, found, attempts)
                return
            if found is FileError.FORBIDDEN:
                error = FileError.FORBIDDEN
        self._refuse(exchange, error)

    def _refuse(self, exchange: Exchange, error: FileError) -> None:
        """Respond with an error. What may not be read is logged with its name already, at a higher level."""
        level = logging.DEBUG if error is FileError.FORBIDDEN else None
        exchange.fail(error.status, error.reason, self.settings.keys[error], level=level)

    # ── choosing and sending a representation ──

    def _rank(self, accept_encoding: bytes | None) -> tuple[str, ...]:
        ranking = self._rankings.get(accept_encoding)
        if ranking is None:
            offered = self.settings.files.offered
            ranking = _UNASKED if accept_encoding is None else rank_codings(accept_encoding, offered)
            if len(accept_encoding or b"") <= MAX_CACHED_RANKING_BYTES:
                if len(self._rankings) >= RANKING_CACHE_SIZE:
                    self._rankings.clear()
                self._rankings[accept_encoding] = ranking
        return ranking

    def _answer(self, exchange: Exchange, entry: Entry, attempts: int) -> None:
        """Respond with the file of an entry."""
        request = exchange.request
        ranking = self._rank(request.accept_encoding)
        fields = request.fields
        wanted = fields.get(b"range") if request.method == "GET" else None  # RFC 9110 §14.2: defined for GET only
        if wanted is not None and IDENTITY in ranking and entry.coded is None:
            ranking = (IDENTITY,)  # compressed output may differ the next time, so ranges of it would not fit together
        representation = self._files.choose(entry, ranking)
        if representation is None:
            reason = "no content coding of the file is accepted, RFC 9110 §12.5.3"
            exchange.fail(406, reason, fields=b"Vary: Accept-Encoding\r\n")
            return
        if not representation.etag:
            self._digest(exchange, entry, representation, attempts)
            return
        if not fields.keys().isdisjoint(CONDITIONAL_FIELDS):
            outcome = evaluate(fields, representation.etag, entry.modified_s)
            if outcome is Outcome.NOT_MODIFIED:
                exchange.respond(304, representation.not_modified_fields)
                return
            if outcome is Outcome.FAILED:
                exchange.fail(412, "the file has changed, RFC 9110 §13.1")
                return
        if wanted is not None and representation.path == entry.path:
            now_s = self.context.wall_clock()
            if is_range_wanted(fields.get(b"if-range"), representation.etag, entry.modified_s, now_s):
                parts = parse_ranges(wanted, representation.size, self.settings.max_ranges)
                if parts is not None:
                    self._send_parts(exchange, entry, representation, parts, attempts)
                    return
        self._send(exchange, entry, representation, ranking, attempts)

    def _send(
        self, exchange: Exchange, entry: Entry, representation: Representation, ranking: tuple[str, ...], attempts: int
    ) -> None:
        """Send a whole representation."""
        if representation.is_in_memory:
            if entry.bytes and entry.by_coding.get(representation.coding) is representation:
                entry.by_ranking[ranking] = representation
            exchange.respond(200, representation.fields, representation.body)
        elif representation.path:
            if (opened := self._open(exchange, entry, representation, attempts)) is not None:
                exchange.send_file(200, representation.fields, opened[0], 0, opened[1])
        else:
            self._compress(exchange, entry, representation, ranking, attempts)

    def _send_parts(
        self, exchange: Exchange, entry: Entry, representation: Representation, parts: list[ByteRange], attempts: int
    ) -> None:
        if not parts:
            reason = f"no range lies within the {representation.size} bytes of the file, RFC 9110 §14.1.2"
            exchange.fail(416, reason, fields=b"Content-Range: %b\r\n" % unsatisfied_range(representation.size))
        elif representation.is_in_memory:
            respond_parts(exchange, representation, parts, representation.body)
        elif (opened := self._open(exchange, entry, representation, attempts)) is not None:
            send_parts(exchange, representation, parts, *opened)

    def _open(
        self, exchange: Exchange, entry: Entry, representation: Representation, attempts: int
    ) -> tuple[int, int] | None:
        """Return the descriptor and size of a representation's file; None if the request is answered another way."""
        opened = self._files.open(entry, representation)
        if not isinstance(opened, FileError):
            return opened
        self._retry(exchange, opened, attempts)
        return None

    def _retry(self, exchange: Exchange, error: FileError, attempts: int) -> None:
        """Serve a request again because its file has changed, or fail it after too many attempts."""
        if attempts > 1 and error is not FileError.BUSY and error is not FileError.FORBIDDEN:
            self._serve(exchange, attempts - 1)
        else:
            self._refuse(exchange, error)

    def _digest(self, exchange: Exchange, entry: Entry, representation: Representation, attempts: int) -> None:
        """Serve a request again once the content that its entity tag is made of has been digested."""
        path, identity = self._files.source(entry, representation)

        def done(digest: bytes | None) -> None:
            self._files.keep_digest(entry, identity, digest)
            self._retry(exchange, FileError.CHANGING, attempts)

        self._compressions.run((path, identity), identity[2], lambda: self._files.digest(path, identity), done)

    def _compress(
        self, exchange: Exchange, entry: Entry, representation: Representation, ranking: tuple[str, ...], attempts: int
    ) -> None:
        def done(body: bytes | None) -> None:
            if body is None:
                self.cache.drop(entry)
                self._retry(exchange, FileError.CHANGING, attempts)
                return
            result = self._files.keep_compressed(entry, representation, body, ranking)
            self._send(exchange, entry, result, ranking, attempts)

        key = (entry.path, entry.identity, representation.coding)
        self._compressions.submit(key, representation.coding, entry.identity[2], lambda: self._files.read(entry), done)
