"""One request and its response over HTTP/3: an exchange of HTTP/2, on a session of HTTP/3.

The two versions have the same messages, streams and limits (RFC 9114 §4); the session translates the rest.
"""

from __future__ import annotations

from npserver.web.server.http2.exchange import Http2Exchange


class Http3Exchange(Http2Exchange, eq=False, kw_only=True):
    """One request and its response."""
