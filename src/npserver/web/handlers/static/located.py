"""Finds the file of a request as `static` rules do, and keeps its name: for `npserver explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.handlers.static.handler import StaticHandler

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.static.cache import Entry, Representation


class LocatedFiles(StaticHandler):
    """Another handler of the same rule. `file`: the path on disk of what it has sent; "" if that is no file."""

    __slots__ = ("_directory", "asked", "file")

    def __init__(self, other: StaticHandler) -> None:
        super().__init__(other.context, other.settings, other.cache)
        self._directory = other.settings.files.root.directory
        self.file = ""
        self.asked = ""  # the path on disk that a request names

    def handle(self, exchange: Exchange) -> None:
        """Find the file, and respond as the rule does."""
        self.asked = self._directory + exchange.request.path[len(self.settings.prefix) :]
        self._serve(exchange, 1)

    def _answer(self, exchange: Exchange, entry: Entry, attempts: int) -> None:
        self.file = self._directory + entry.path
        super()._answer(exchange, entry, attempts)

    def _compress(
        self, exchange: Exchange, entry: Entry, representation: Representation, ranking: tuple[str, ...], attempts: int
    ) -> None:
        """Respond at once: nobody reads the compressed file."""
        exchange.respond(200, representation.fields)

    def _digest(self, exchange: Exchange, entry: Entry, representation: Representation, attempts: int) -> None:
        """Respond without an entity tag: the file is not read for it."""
        exchange.respond(200, representation.fields)
