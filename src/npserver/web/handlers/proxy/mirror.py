"""Sends copies of a rule's requests to another upstream (`mirror`), such as a new version under test.

A copy is sent when the request's own body is complete, and its answer is thrown away: whatever becomes of it does not
reach the client, the request or the access log. What a copy may cost is bounded: the size of its body, its time, the
size of its answer, and how many are on their way. One that goes beyond is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from npserver.errors import BadRequest, UpstreamError
from npserver.runtime.tasks import spawn
from npserver.web.handlers.proxy.buffered_upload import BufferedUpload, BufferingOwner
from npserver.web.handlers.proxy.connect import open_client
from npserver.web.handlers.proxy.request_head import prepare_fields
from npserver.web.handlers.proxy.upload import Upload

if TYPE_CHECKING:
    from npserver.http.response_parser import ResponseHead
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.config import MirrorSection
    from npserver.web.handlers.proxy.proxy import Proxy
    from npserver.web.handlers.proxy.spool import SpoolSettings
    from npserver.web.handlers.proxy.upload import UploadOwner
    from npserver.web.middleware.headers.changes import FieldChanges

log = logging.getLogger("npserver.upstream")

MAX_ANSWER_BYTES = 1 << 20  # of which a copy's answer is read; the connection is closed then
LOG_EVERY_S = 60.0  # failed copies are logged at most so often, per rule and worker


class Mirror:
    """Where the copies of one rule go."""

    __slots__ = (
        "_dropped_slot",
        "_failed_slot",
        "_key",
        "_logged_at",
        "_proxy",
        "_section",
        "_sent_slot",
        "_share",
        "active",
    )

    def __init__(self, proxy: Proxy, section: MirrorSection, share: float, key: str) -> None:
        """Create it. `proxy` has the rule's changes to requests and the mirror's upstream; `share`: a part of 1."""
        self._proxy = proxy
        self._section = section
        self._share = share
        self._key = key
        self._logged_at = float("-inf")
        self.active = 0  # copies on their way
        row = proxy.upstream.context.row
        self._sent_slot = row.slot("http.mirror.sent")
        self._dropped_slot = row.slot("http.mirror.dropped")
        self._failed_slot = row.slot("http.mirror.failed")

    def __repr__(self) -> str:
        return f"<Mirror {self._proxy.upstream!r} active={self.active}>"

    def begin(self, exchange: Exchange, *, has_body: bool) -> Copy | None:
        """Return the copy of a request that is about to be forwarded; None if there is to be none."""
        request = exchange.request
        if request.upgrade or random.random() >= self._share or prepare_fields(request.block).binds_connection:
            return None
        return Copy(self, exchange, int(self._section.max_body), has_body=has_body)

    def send(self, exchange: Exchange, body: bytes | None) -> None:
        """Send a copy. `body`: None if the request has none, not even an empty one."""
        if self.active >= self._section.max_requests:
            self.drop()
            return
        proxy, context = self._proxy, self._proxy.upstream.context
        target = proxy.pick(exchange, (), proxy.upstream)
        if target is None:
            self._failed(f"no target of upstream {proxy.upstream.name} left{proxy.upstream.why_no_target()}")
            return
        try:
            head = proxy.compose_copy(exchange, target, None if body is None else len(body))
        except BadRequest as error:
            self._failed(str(error))
            return
        self.active += 1
        target.acquire()
        is_head = exchange.request.method == "HEAD"
        work = self._send(target, head + (body or b""), context.loop, is_head=is_head)
        spawn(work, f"mirroring to {target.uri}", None)

    def drop(self) -> None:
        """Count a copy that is not sent: its body is too large, or too many are on their way."""
        self._proxy.upstream.context.row.slots[self._dropped_slot] += 1

    async def _send(self, target: Target, data: bytes, loop: asyncio.AbstractEventLoop, *, is_head: bool) -> None:
        client: UpstreamClient | None = None
        upstream, settings = self._proxy.upstream, self._proxy.settings
        connect_s = float(upstream.section.proxy_timeout_seconds)
        answer = ThrownAway(loop)
        try:
            async with asyncio.timeout(self._section.timeout):
                client = target.pool.take_checked() or await open_client(
                    upstream.context, target, settings.client, connect_s, settings.connect_key
                )
                client.begin(answer, settings.client, is_head=is_head, has_body=False)
                client.write(data)
                await answer.done
            upstream.context.row.slots[self._sent_slot] += 1
        except UpstreamError as error:
            if client is not None:  # else the attempt to connect has counted it
                target.count_failure()
            self._failed(str(error))
        except TimeoutError:
            target.count_failure()
            self._failed(f"{target.uri}: no answer within {self._section.timeout:g} s (timeout)")
        finally:
            self.active -= 1
            target.release()
            if client is not None and not answer.is_complete:
                client.abandon()

    def _failed(self, reason: str) -> None:
        context = self._proxy.upstream.context
        context.row.slots[self._failed_slot] += 1
        now = context.loop.time()
        if now >= self._logged_at + LOG_EVERY_S:
            self._logged_at = now
            log.warning("copy of a request was not answered: %s (%s)", reason, self._key)


class Copy:
    """The copy of one request, while its body arrives."""

    __slots__ = ("_body", "_exchange", "_has_body", "_limit_bytes", "_mirror", "_size")

    def __init__(self, mirror: Mirror, exchange: Exchange, limit_bytes: int, *, has_body: bool) -> None:
        self._has_body = has_body
        self._mirror = mirror
        self._exchange = exchange
        self._limit_bytes = limit_bytes
        self._body: list[bytes] | None = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Keep the next data of the body; none at all of one that is too large."""
        if self._body is None:
            return
        self._size += len(data)
        if self._size <= self._limit_bytes:
            self._body.append(data)
        else:
            self._body = None
            self._mirror.drop()

    def complete(self) -> None:
        """Send the copy: the body is complete."""
        if self._body is not None:
            self._mirror.send(self._exchange, b"".join(self._body) if self._has_body else None)
            self._body = None


class ThrownAway:
    """A response sink that takes an answer and forgets it."""

    __slots__ = ("_size", "done", "is_complete")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.is_complete = False  # the connection can be used again
        self._size = 0

    def response_interim(self, head: ResponseHead) -> None:
        """Ignore a 1xx response."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with an answer that arrived in one read."""
        self.response_end(b"")

    def response_start(self, head: ResponseHead) -> None:
        """Called with the head of an answer whose body follows."""

    def response_data(self, data: bytes) -> None:
        """Forget the next data of the body; end if it is too much."""
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES and not self.done.done():
            self.done.set_result(None)

    def response_end(self, trailers: bytes) -> None:
        """Called when the answer is complete."""
        self.is_complete = True
        if not self.done.done():
            self.done.set_result(None)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Called for a 101 response, which the request did not ask for."""
        if not self.done.done():
            self.done.set_result(None)

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the connection failed before the answer was complete."""
        if not self.done.done():
            self.done.set_exception(error)

    def request_pause(self) -> None:
        """Do nothing: all has been written."""

    def request_resume(self) -> None:
        """Do nothing: all has been written."""


class CopiedUpload(Upload):
    """A request body that is passed on and copied."""

    __slots__ = ("_copy",)

    def __init__(
        self, copy: Copy, exchange: Exchange, owner: UploadOwner, limit_bytes: int, changes: FieldChanges | None
    ) -> None:
        """Create it; for the arguments see `Upload`."""
        Upload.__init__(self, exchange, owner, limit_bytes, changes)
        self._copy = copy

    def body_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        Upload.body_data(self, data)
        self._copy.add(data)

    def body_end(self, trailers: bytes) -> None:
        """Called when the body is complete."""
        Upload.body_end(self, trailers)
        self._copy.complete()


class CopiedBufferedUpload(BufferedUpload):
    """A request body that is buffered and copied."""

    __slots__ = ("_copy",)

    def __init__(self, copy: Copy, exchange: Exchange, owner: BufferingOwner, spool: SpoolSettings) -> None:
        """Create it; for the arguments see `BufferedUpload`."""
        BufferedUpload.__init__(self, exchange, owner, spool)
        self._copy = copy

    def body_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        BufferedUpload.body_data(self, data)
        self._copy.add(data)

    def body_end(self, trailers: bytes) -> None:
        """Called when the body is complete."""
        BufferedUpload.body_end(self, trailers)
        self._copy.complete()
