"""Sending a request again that the target says it has not processed, whatever its method (RFC 9113 §8.7).

A target says so by GOAWAY, with which it ends a connection, or by resetting a stream with REFUSED_STREAM. Called by
`web.handlers.proxy.call`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.errors import UpstreamError
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.buffered_upload import BufferedUpload
    from npserver.web.handlers.proxy.proxy import Proxy
    from npserver.web.handlers.proxy.upload import Upload


class Resendable(Protocol):
    """A request with its attempts: `web.handlers.proxy.call.ProxyCall`."""

    proxy: Proxy
    exchange: Exchange
    upload: Upload | BufferedUpload | None
    attempts: int
    tried: frozenset[Target] | tuple[()]


def target_again(call: Resendable, error: UpstreamError, target: Target) -> Target | None:
    """Return the target to send a request to that `target` has not processed; None if it cannot be sent again.

    It is sent `retries` times in all, and at least once. Another target is preferred to one that refuses requests;
    with GOAWAY a target only ends a connection.
    """
    proxy = call.proxy
    if call.attempts > max(proxy.retry.retries, 1) or (call.upload is not None and not call.upload.can_resend):
        return None
    if not error.going_away:
        target.count_failure()
        if not proxy.retry.spend():
            return None
        call.tried = frozenset((*call.tried, target))
    return proxy.choose(call.exchange, call.tried) or proxy.choose(call.exchange, ())
