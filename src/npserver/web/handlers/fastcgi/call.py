"""One request to a FastCGI server: what differs from a proxied request.

Made by `web.handlers.fastcgi.handler`. Choosing targets, retrying, waiting and passing the response on are those of
`web.handlers.proxy.call`; the connection is an `upstream.fastcgi.FastcgiClient`.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, cast

from npserver.errors import clip
from npserver.observe.escape import decode, decode_latin1, escape_control
from npserver.upstream.fastcgi import FastcgiClient
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.connect import dial_target, limit_s
from npserver.web.handlers.proxy.timed_call import TimedCall, TimedWaitingCall
from npserver.web.handlers.proxy.upload import Upload
from npserver.web.handlers.proxy.waiting_call import WaitingCall
from npserver.web.server.refusals import decided_by

if TYPE_CHECKING:
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.http1 import HttpClient
    from npserver.upstream.target import Target
    from npserver.web.handlers.fastcgi.gateway import Gateway

log = logging.getLogger("npserver.upstream")

_UNKNOWN_SCRIPT = "Primary script unknown"  # how PHP-FPM tells that SCRIPT_FILENAME leads to no file for it


class FastcgiUpload(Upload):
    """A body whose length is known, passed on as it arrives. No server is asked whether it wants it."""

    __slots__ = ()

    def send(self, client: UpstreamClient, head: bytes) -> None:
        """Send the body received so far over `client`, after its head, then the rest as it arrives."""
        self.client = client
        if self._is_receiving:
            self._send_again()
        else:
            self._is_receiving = True
            self._exchange.receive(self)


class FastcgiCall(ProxyCall, eq=False):
    """One request to a FastCGI server, with all its attempts."""

    # adds no fields, so that the calls below can have it as a second base

    def use(self, target: Target, *, fresh: bool = False) -> None:
        """Send the request to `target`, over a new connection if it cannot be sent again.

        PHP closes a kept connection after so many requests (pm.max_requests), without a word before.
        """
        if not self.exchange.request.is_idempotent:
            fresh = True
            if target.pool.idle:
                target.pool.idle.pop().close()  # it keeps a process busy, which the new one may have to wait for
        super().use(target, fresh=fresh)

    async def connect(self, target: Target) -> HttpClient:
        """Open a connection to a target. Raises: UpstreamError."""
        proxy, context = self.proxy, self.exchange.context
        settings, max_age_s = proxy.settings, cast("Gateway", proxy).max_age_s
        return await dial_target(
            context,
            target,
            lambda: FastcgiClient(context, target, settings.client, max_age_s),
            limit_s(proxy, self.left_s()),
            settings.connect_key,
        )

    def send(self, client: UpstreamClient) -> None:
        """Send the request over a connection."""
        self.client = client
        upload = self.upload
        is_head = self.exchange.request.method == "HEAD"
        client.begin(self, self.proxy.settings.client, is_head=is_head, has_body=upload is not None)
        cast("FastcgiClient", client).send_head(self.head)
        if upload is not None:
            upload.send(client, b"")

    def error_output(self, data: bytes, offset: int) -> None:
        """Called with error output of the script: log it, up to `max_error_output` bytes of the request."""
        gateway = cast("Gateway", self.proxy)
        self.exchange.context.row.slots[gateway.error_counter] += len(data)
        room = gateway.error_bytes - offset
        if room <= 0:
            return
        request, key = self.exchange.request, f"{gateway.settings.key}.max_error_output"
        text = decode(data[:room]).strip().replace("\r\n", "\n").replace("\n", "\\n")
        if text == _UNKNOWN_SCRIPT:
            root, key = os.fsdecode(gateway.params.root), f"{gateway.settings.key}.script_root"
            text += f": it finds no such file below {clip(root)}, or may not read it"
        log.warning(
            "error output of %s %s from %s: %s%s (%s)",
            request.method, escape_control(decode_latin1(request.path)), self.exchange.upstream, escape_control(text),
            " ... and more" if len(data) > room else "", decided_by(self.exchange.route, key),
        )  # fmt: skip


class FastcgiTimedCall(FastcgiCall, TimedCall, eq=False):
    """One whose response time is measured."""


class FastcgiWaitingCall(FastcgiCall, WaitingCall, eq=False):
    """One that may wait for a target."""


class FastcgiTimedWaitingCall(FastcgiCall, TimedWaitingCall, eq=False):
    """Both."""
