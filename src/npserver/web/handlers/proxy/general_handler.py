"""The handler of `proxy` rules whose requests may wait for their upstream (`wait`), are timed, or copied (`mirror`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.request import NO_BODY
from npserver.web.handlers.proxy.buffered_upload import BufferedUpload
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.handler import ProxyHandler
from npserver.web.handlers.proxy.mirror import CopiedBufferedUpload, CopiedUpload
from npserver.web.handlers.proxy.timed_call import TimedCall, TimedWaitingCall
from npserver.web.handlers.proxy.upload import Upload
from npserver.web.handlers.proxy.waiting_call import WaitingCall

if TYPE_CHECKING:
    from npserver.web.exchange import DirectHandler, Exchange
    from npserver.web.handlers.proxy.mirror import Mirror
    from npserver.web.handlers.proxy.proxy import Proxy


class GeneralHandler(ProxyHandler):
    """Forwards the requests of a rule to its upstream: lets them wait for it, and copies them."""

    __slots__ = ("_make_call", "_mirror")

    def __init__(self, proxy: Proxy, *, redirects_to_slash: bool = False, mirror: Mirror | None = None) -> None:
        ProxyHandler.__init__(self, proxy, redirects_to_slash=redirects_to_slash)
        self._make_call: type[ProxyCall] = ProxyCall if proxy.upstream.queue is None else WaitingCall
        if proxy.is_timed:
            self._make_call = TimedCall if proxy.upstream.queue is None else TimedWaitingCall
        self._mirror = mirror

    @property
    def direct(self) -> DirectHandler | None:
        """What passes plain requests on without an exchange: a copy needs one."""
        return self if self._mirror is None and self.proxy.is_direct else None

    def handle(self, exchange: Exchange) -> None:
        """Forward the request; one that is to be buffered waits only once its body is whole."""
        proxy, settings = self.proxy, self.proxy.settings
        has_body = exchange.request.framing is not NO_BODY
        exchange.source = call = self._make_call(proxy, exchange)
        copy = self._mirror.begin(exchange, has_body=has_body) if self._mirror is not None else None
        if has_body and (spool := settings.request_spool) is not None:
            upload = (
                BufferedUpload(exchange, call, spool)
                if copy is None
                else CopiedBufferedUpload(copy, exchange, call, spool)
            )
            call.upload = upload
            upload.receive()  # it starts the call
            return
        if has_body:
            size, changes = settings.rule.buffer_size, settings.changes
            call.upload = (
                Upload(exchange, call, size, changes)
                if copy is None
                else CopiedUpload(copy, exchange, call, size, changes)
            )
        call.start()
        if copy is not None and not has_body:
            copy.complete()
