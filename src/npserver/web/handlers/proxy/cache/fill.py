"""One request to the upstream for all clients that want the same response, which is stored as it passes.

Made by `handler`. Only one worker fills a response at a time, by its `Claim`; the others wait until it is stored. What
turns out to be for one client only goes to the client that asked first; the others are given back to the handler.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, cast

from npserver.http import caching
from npserver.web.handlers.proxy.cache.answer import is_not_modified, respond_not_modified, respond_received
from npserver.web.handlers.proxy.cache.entry import Entry, StoredHead
from npserver.web.handlers.proxy.cache.fill_body import FillBody
from npserver.web.handlers.proxy.cache.fill_exchange import FillExchange, fill_request
from npserver.web.handlers.proxy.cache.reader import Reader
from npserver.web.handlers.proxy.cache.response_head import read_head, shown_fields

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.cache.wanted import FillOwner, Wanted

log = logging.getLogger("npserver.proxy")

POLL_S = 0.02  # how often a worker looks whether another one is done with a response
_REMOVING = frozenset({"private", "no-store"})  # what was stored is not for everybody any more
_FAILED = frozenset({500, 502, 503, 504})  # RFC 5861 §4


class Fill(FillBody):
    """One response that is being received, or waited for."""

    def __init__(self, handler: FillOwner, wanted: Wanted, entry: Entry | None, why: bytes) -> None:
        """Create it. `why`: the upstream is asked, for Cache-Status."""
        super().__init__(handler, wanted)
        self._why = why
        self.names = {wanted.name}  # by which the handler finds it
        self.entry = entry  # a stored response that is to be validated
        self._is_shared = False  # the response may go to others
        self._leader: Reader | None = None  # of the client that asked first
        self._give_up_at = 0.0
        self._asked_s = 0.0
        self._status = b""  # for Cache-Status
        self._length: int | None = None  # of the body

    def __repr__(self) -> str:
        return f"<Fill {self.wanted.name} readers={len(self.readers)} stored={self.stored}>"

    # ── before there is a response ──

    def begin(self) -> None:
        """Ask the upstream, or wait for another worker that does. Raises: OSError if the store fails."""
        self.claim = self.handler.store.claim(self.wanted.name)
        if self.claim is not None:
            self._ask_unless_stored()
        elif not self.readers:
            self.close()  # another worker validates it
        else:
            loop = self.handler.context.loop
            self._give_up_at = loop.time() + self.handler.settings.wait
            if self.handler.is_apart(self.wanted.name):
                self._pass_all()
            else:
                loop.call_later(POLL_S, self._poll)

    def add(self, exchange: Exchange) -> bool:
        """Answer one more exchange. Return False if that is not possible."""
        if self.is_over:
            return False
        if self.head is None:
            self.readers.append(Reader(self, exchange))
            return True
        if not self._is_shared or not self.is_stored or not self.head.is_for(self.handler.fields_of(exchange)):
            return False
        self.readers.append(reader := Reader(self, exchange))
        self._start(reader, self.head)
        if reader.has_started:
            reader.pump()
        return True

    def _poll(self) -> None:
        """Look whether another worker is done."""
        if not self.readers:
            self.close()
            return
        handler, loop = self.handler, self.handler.context.loop
        exchange = self.readers[0].exchange
        self.wanted = self.wanted.of(exchange, handler.fields_of(exchange))
        entry = handler.find(self.wanted)
        if entry is not None and handler.is_fresh(entry):
            self._give_back()
            return
        if loop.time() >= self._give_up_at:
            self._pass_all()
            return
        try:
            self.claim = handler.store.claim(self.wanted.name)
        except OSError as error:
            handler.store_failed(error)
            self._pass_all()
            return
        if self.claim is None:
            loop.call_later(POLL_S, self._poll)
        else:
            self.entry = entry
            self._ask_unless_stored()

    def _ask_unless_stored(self) -> None:
        """Ask the upstream, if no other worker has stored the response just before it was claimed here."""
        entry = self.handler.find(self.wanted)
        if entry is not None and entry is not self.entry and self.handler.is_fresh(entry):
            self._give_back()
        else:
            self._ask()

    def _ask(self) -> None:
        """Send the request."""
        client = self.wanted.exchange
        head = self.entry.head if self.entry is not None else None
        etag, modified = (head.etag, head.modified) if head is not None else (b"", b"")
        request = fill_request(client.request, etag, modified)
        self._leader = self.readers[0] if self.readers else None
        self._asked_s = self.handler.context.wall_clock()
        self.request = exchange = FillExchange(self, client, request)
        try:
            self.handler.inner.handle(cast("Exchange", exchange))
        except Exception:
            log.exception("error in %s", client.route.name)
            self.fail(500, "internal error")

    # ── the response: called by `FillExchange` ──

    def inform(self, status: int, fields: bytes) -> None:
        """Pass an interim response on to the client that asked first."""
        if self._leader is not None and self._leader in self.readers:
            self._leader.exchange.inform(status, fields)

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Store a whole response and answer all with it."""
        head = self._decide(status, fields, len(body))
        if head is None:
            return
        self.store_piece(body)
        self.has_ended = True
        for reader in list(self.readers):
            reader.done()
            respond_received(reader.exchange, head, self._shown(head, reader), body)
        self._finish()

    def begin_body(self, status: int, fields: bytes, length: int | None) -> None:
        """Begin the response for all."""
        self._length = length
        head = self._decide(status, fields, length)
        if head is not None:
            for reader in list(self.readers):
                self._start(reader, head)
            self.stop_if_unwanted()

    def data(self, data: bytes) -> None:
        """Store a piece of the body and send it to all that keep up."""
        is_stored = self.store_piece(data)
        for reader in list(self.readers):
            reader.feed(data, is_stored=is_stored)

    def end(self) -> None:
        """The body is complete."""
        self.has_ended = True
        for reader in list(self.readers):
            reader.pump()
        self._finish()

    def lost(self, reason: str, key: str, level: int) -> None:
        """The response breaks off: what there is of it is of no use to others. The log says it once."""
        for reader in self._leave_all():
            reader.exchange.abort(reason, key, level=level)
            level = logging.DEBUG

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", level: int | None = None) -> None:
        """There is no response: answer with a stored one, if it may be served in this case."""
        is_behind = self._leader is None and not self.readers and self.entry is not None
        if self._serve_stale_on_error() or is_behind:
            request = self.wanted.exchange.request
            log.log(
                logging.WARNING if level is None else level,
                "the stale response for %s %s was sent, as there is no new one: %s (%s)",
                request.method, request.path, reason, key,
            )  # fmt: skip
            self._leave_all()
            return
        for reader in self._leave_all():
            self._tell(reader)
            reader.exchange.fail(status, reason, key, fields, level=level)

    # ── deciding ──

    def _decide(self, status: int, fields: bytes, length: int | None) -> StoredHead | None:
        """Decide what becomes of the response. Return its head if it is to be sent to the readers."""
        handler, entry = self.handler, self.entry
        if entry is not None and status == 304:
            self._validated(entry, fields)
            return None
        if status in _FAILED and self._serve_stale_on_error():
            return None
        head, reason = self._read_head(status, fields)
        self.head = head
        self._is_shared = not reason
        if reason or (length is not None and length > handler.max_object) or not self._open(head):
            self._discard()
            handler.keep_apart(self.wanted.name, reason)
            if reason in _REMOVING:
                handler.store.remove(self.wanted.digest)
        self._status = self._why + b"; stored" if self.is_stored else self._why
        for reader in list(self.readers):
            self._tell(reader)
            if reader is not self._leader and not (self._is_shared and head.is_for(handler.fields_of(reader.exchange))):
                reader.done()
                handler.handle(reader.exchange)
        return head

    def _read_head(self, status: int, fields: bytes) -> tuple[StoredHead, str]:
        handler = self.handler
        return read_head(
            self.wanted, status, fields,
            default_s=float(handler.settings.default_ttl), asked_s=self._asked_s, now_s=handler.context.wall_clock(),
        )  # fmt: skip

    def _open(self, head: StoredHead) -> bool:
        """Begin to store the response, if there is room."""
        try:
            if head.vary:
                store, digest = self.handler.store, self.wanted.digest
                name = store.variant(digest, head.vary, head.values)
                if name not in self.names:  # others are to wait for it by this name too, from when the group is known
                    self.twin = store.claim(name)
                    self.handler.also_by(name, self)
                head.group = store.group(digest, head.key, head.vary)
        except FileNotFoundError:
            return False  # its key was removed just now
        except OSError as error:
            self.handler.store_failed(error)
            return False
        if self.claim is not None and self.claim.start(head):
            return True
        self.find_room()
        return False

    def _validated(self, entry: Entry, fields: bytes) -> None:
        """A stored response is current (RFC 9111 §4.3.4): store it with its fields updated, and answer all with it."""
        handler, old = self.handler, entry.head
        received = caching.read_fields(fields)
        etag = received.get(b"etag", old.etag)
        if etag.removeprefix(b"W/") != old.etag.removeprefix(b"W/"):
            handler.store.remove(self.wanted.digest)  # it speaks for another response (§4.3.3)
            self._give_back()
            return
        head, reason = self._read_head(old.status, caching.updated_fields(old.fields, fields))
        head.group, head.vary, head.values = old.group, old.vary, old.values
        head.age_s = caching.received_age(received, head.received_s - self._asked_s)
        handler.count("validated")
        if reason:
            handler.store.remove(self.wanted.digest)
        elif self.claim is not None and self.claim.start(head):
            if self.claim.copy(entry):
                self.claim.commit(os.path.basename(entry.path))
        else:
            self.find_room()
        updated = Entry(entry.path, entry.state, head, entry.offset, entry.size, entry.body)
        current = self._why + b"; fwd-status=304"
        for reader in self._leave_all_but_others(old, keeps_leader_only=bool(reason)):
            self._tell(reader)
            if not handler.serve(reader.exchange, updated, current):
                again = handler.find(self.wanted)  # the file that was just written took its place
                if again is None or not handler.serve(reader.exchange, again, current):
                    handler.pass_on(reader.exchange, self._why)

    def _serve_stale_on_error(self) -> bool:
        """Answer all with a stored response after a failure of the upstream, if that may be."""
        entry, handler = self.entry, self.handler
        if entry is None or not handler.may_serve_after_error(entry):
            return False
        handler.count("stale_on_error")
        for reader in self._leave_all_but_others(entry.head):
            if not handler.serve(reader.exchange, entry, b"hit; detail=stale-if-error"):
                handler.pass_on(reader.exchange, self._why)
        return True

    # ── sending ──

    def _tell(self, reader: Reader) -> None:
        """Tell the exchange of a reader, for the log, which targets were asked."""
        if self.request is not None:
            reader.exchange.upstream, reader.exchange.attempts = self.request.upstream, self.request.attempts

    def _shown(self, head: StoredHead, reader: Reader) -> bytes:
        """Return the field lines for a client."""
        status = self._status if reader is self._leader else self._status + b"; collapsed"
        reader.exchange.cache_status = status
        return shown_fields(head, status)

    def _start(self, reader: Reader, head: StoredHead) -> None:
        """Begin a response whose body follows."""
        fields = self._shown(head, reader)
        if head.status == 200 and is_not_modified(reader.exchange.request, head):
            reader.done()
            respond_not_modified(reader.exchange, fields)
        else:
            reader.start(head.status, fields, self._length)

    # ── the end ──

    def _finish(self) -> None:
        """The response is complete: give the file its name."""
        claim, handler = self.claim, self.handler
        if claim is None or not claim.is_open:
            self.close()
        elif handler.store.is_durable:
            job = handler.context.loop.run_in_executor(None, os.fdatasync, claim.file)
            job.add_done_callback(
                lambda done: self._commit(is_synced=not done.cancelled() and done.exception() is None)
            )
        else:
            self._commit(is_synced=True)

    def _commit(self, *, is_synced: bool) -> None:
        claim, head = self.claim, self.head
        if is_synced and claim is not None and claim.is_open and head is not None:
            store, wanted = self.handler.store, self.wanted
            if claim.commit(store.place(wanted.digest, head)):
                self.handler.stored(wanted.name)
        self.close()

    def _discard(self) -> None:
        if self.claim is not None:
            self.claim.discard()

    def _leave_all(self) -> list[Reader]:
        """End, and return the readers that have no answer yet."""
        readers, self.readers = self.readers, []
        for reader in readers:
            reader.done()
        self.close()
        return readers

    def _leave_all_but_others(self, head: StoredHead, *, keeps_leader_only: bool = False) -> list[Reader]:
        """End, and return the readers that a response with this head is for; give the others back to the handler."""
        served: list[Reader] = []
        others: list[Reader] = []
        for reader in self._leave_all():
            is_kept = reader is self._leader or not keeps_leader_only
            fields = self.handler.fields_of(reader.exchange)
            (served if is_kept and head.is_for(fields) else others).append(reader)
        for reader in others:
            self.handler.handle(reader.exchange)
        return served

    def _pass_all(self) -> None:
        """End, and let the upstream answer each request by itself."""
        for reader in self._leave_all():
            self.handler.pass_on(reader.exchange, self._why)

    def _give_back(self) -> None:
        """End, and let the handler look at the requests again."""
        for reader in self._leave_all():
            self.handler.handle(reader.exchange)

    def close(self) -> None:
        """End: the next request of this key begins another fill. Readers that are behind go on."""
        if self.is_over:
            return
        self.is_over = True
        self.handler.forget(self)
        self._discard()
        if self.twin is not None:
            self.twin.close()
        if self.request is not None:
            self.request.stop()
        self.release()
