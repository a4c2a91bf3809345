"""The handler of `proxy` rules: begins a call to an upstream for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.request import NO_BODY
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.upload import Upload

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.proxy import Proxy


class ProxyHandler:
    """Passes the requests of a rule on to its upstream."""

    __slots__ = ("proxy",)

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def __repr__(self) -> str:
        return f"<ProxyHandler {self.proxy.upstream!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Pass the request on."""
        # hot: proxy-small
        proxy = self.proxy
        call = ProxyCall(proxy, exchange)
        if exchange.request.framing is not NO_BODY:
            call.upload = Upload(exchange, call, proxy.settings.buffer_size)
        exchange.watch(call)
        target = proxy.only_target or proxy.choose(exchange, ())
        if target is not None:
            call.use(target)
        else:
            call.fail_without_target()
