"""HTTP/2 without TLS (h2c): a client that knows of it begins with the preface of HTTP/2 (RFC 9113 §3.3, §3.4).

The beginning of the preface ends as a head of HTTP/1.1 does, and no request can look like it. The form that begins with
an Upgrade is not served: RFC 9113 has removed it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.server.client_connection import ClientConnection

log = logging.getLogger("npserver.http")

PREFACE_HEAD = b"PRI * HTTP/2.0\r\n\r\n"


def speaks_http2(connection: ClientConnection, data: bytes) -> bool:
    """Go on as an HTTP/2 connection if the listener has it without TLS. `data` begins with the preface."""
    if connection.requests or connection.scheme != "http":
        return False
    if not connection.front.plain_http2:
        log.info("%s speaks HTTP/2 without TLS, which this listener does not have (listen.http2)", connection.client_ip)
        return False
    from npserver.web.server.http2.connection import Http2Connection

    Http2Connection(connection.listener).begin(connection, data)
    return True
