"""The body of a response that is being received: into the file, and from there to readers that are behind.

The base of `fill.Fill`, which decides what becomes of the response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.handlers.proxy.cache.claim import Claim
    from npserver.web.handlers.proxy.cache.entry import StoredHead
    from npserver.web.handlers.proxy.cache.fill_exchange import FillExchange
    from npserver.web.handlers.proxy.cache.reader import Reader
    from npserver.web.handlers.proxy.cache.wanted import FillOwner, Wanted


class FillBody:
    """The readers of a response, and its file."""

    def __init__(self, handler: FillOwner, wanted: Wanted) -> None:
        self.handler = handler
        self.wanted = wanted
        self.readers: list[Reader] = []
        self.claim: Claim | None = None
        self.twin: Claim | None = None  # of the variant that the response turned out to be
        self.request: FillExchange | None = None  # to the upstream
        self.head: StoredHead | None = None  # of the response, once it has begun
        self.stored = 0  # bytes of the body in the file
        self.has_ended = False  # the body is complete
        self.is_over = False

    def close(self) -> None:
        """End."""
        raise NotImplementedError

    @property
    def is_stored(self) -> bool:
        """Whether all that has come of the response is in the file, and more will be."""
        return self.claim is not None and self.claim.is_open

    def store_piece(self, data: bytes) -> bool:
        """Store a piece of the body. Return whether it is in the file."""
        claim = self.claim
        if claim is None or not claim.is_open:
            return False
        if claim.size + len(data) <= self.handler.max_object and claim.write(data):
            self.stored = claim.size
            return True
        if claim.size + len(data) <= self.handler.max_object:
            self.find_room()
        self.handler.keep_apart(self.wanted.name, "size")
        claim.discard()
        return False

    def find_room(self) -> None:
        """Evict responses after one did not fit; say so if it was the file system that had no room."""
        if self.claim is not None and self.claim.error is not None:
            self.handler.store_failed(self.claim.error)
        self.handler.make_room()

    # ── for readers ──

    @property
    def file(self) -> int:
        """The descriptor of the file."""
        assert self.claim is not None
        return self.claim.file

    @property
    def body_at(self) -> int:
        """Where in the file the body begins."""
        assert self.claim is not None
        return self.claim.body_at

    def hold(self) -> None:
        """Let the upstream wait."""
        if self.request is not None and self.request.source is not None:
            self.request.source.pause()

    def caught_up(self) -> None:
        """Let it go on once nobody is behind."""
        if self.request is not None and self.request.source is not None and not any(r.is_behind for r in self.readers):
            self.request.source.resume()

    def leave(self, reader: Reader) -> None:
        """A reader is done, or its client is gone."""
        if reader in self.readers:
            self.readers.remove(reader)
        if self.head is not None:
            if self.is_over:
                self.release()
            elif not self.has_ended:
                self.caught_up()
                self.stop_if_unwanted()

    def stop_if_unwanted(self) -> None:
        """Cancel a response that nobody reads and that is not stored."""
        if not self.readers and not self.is_stored and not self.has_ended:
            self.close()

    def release(self) -> None:
        """Close the file once nobody reads it."""
        if not self.readers and self.claim is not None:
            self.claim.close()
            self.claim = None
