"""What a request asks the cache for, and the handler as a fill knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange, Handler
    from npserver.web.handlers.proxy.cache.config import ResponseCache
    from npserver.web.handlers.proxy.cache.entry import Entry
    from npserver.web.handlers.proxy.cache.store import CacheStore


class Wanted(Struct, eq=False):
    """What a request asks the cache for."""

    exchange: Exchange
    fields: dict[bytes, bytes]  # of the request as the upstream is sent them: Vary names those
    key: bytes
    digest: str  # of the key
    url: str
    name: str = ""  # of the file that is filled

    def of(self, exchange: Exchange, fields: dict[bytes, bytes]) -> Wanted:
        """Return the same for another request."""
        return Wanted(exchange, fields, self.key, self.digest, self.url, self.name)

    def why_asked(self, *, is_fresh: bool | None) -> bytes:
        """Return why the upstream is asked, for Cache-Status (RFC 9211 §2.2).

        `is_fresh`: of the stored response; None if there is none. `name` is known.
        """
        if is_fresh is None:
            return b"fwd=uri-miss" if self.name == self.digest else b"fwd=vary-miss"
        return b"fwd=request" if is_fresh else b"fwd=stale"


class FillOwner(Protocol):
    """The handler of a cache as its fills know it."""

    store: CacheStore
    settings: ResponseCache
    max_object: int
    context: Context

    @property
    def inner(self) -> Handler:
        """The handler of the proxy."""

    def handle(self, exchange: Exchange) -> None:
        """Look at a request again."""

    def fields_of(self, exchange: Exchange) -> dict[bytes, bytes]:
        """Return the fields of a request as the upstream is sent them."""

    def find(self, wanted: Wanted) -> Entry | None:
        """Return the stored response for a request, fresh or not."""

    def is_fresh(self, entry: Entry) -> bool:
        """Whether a response is fresh."""

    def may_serve_after_error(self, entry: Entry) -> bool:
        """Whether a response may be served where the upstream fails."""

    def serve(self, exchange: Exchange, entry: Entry, status: bytes) -> bool:
        """Answer from a stored response. Return False if it is gone."""

    def pass_on(self, exchange: Exchange, status: bytes) -> None:
        """Let the proxy answer as if there were no cache."""

    def also_by(self, name: str, fill: Any) -> None:
        """Find a fill by another name too: that of the variant which it turned out to be."""

    def forget(self, fill: Any) -> None:
        """A fill is over."""

    def stored(self, name: str) -> None:
        """A response is stored."""

    def is_apart(self, name: str) -> bool:
        """Whether requests for a response do not wait for each other."""

    def keep_apart(self, name: str, reason: str) -> None:
        """For a while do not let the requests for a response wait for each other."""

    def count(self, result: str) -> None:
        """Count what became of a request."""

    def make_room(self) -> None:
        """Evict responses."""

    def store_failed(self, error: OSError) -> None:
        """The directory cannot be used."""
