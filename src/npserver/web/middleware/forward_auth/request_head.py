"""The head of a request to an authorization server: the client's fields, and those that describe its request. Pure.

Authelia, authentik, oauth2-proxy and Vouch read the client's request from `X-Forwarded-*`, as Traefik and Caddy send
them, or from `X-Original-URL` and `X-Original-Method`, as their settings for nginx do; all of them are sent. Fields
about a body, conditions and ranges are not: the question is a GET for the whole answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.field_names import fold
from npserver.http.fields import SELECTIVE
from npserver.web.handlers.proxy.request_head import prepare_fields, trusted_fields, untrusted_fields

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.observe.tracing.trace import Trace

#: The fields that describe the client's request, which no client may write itself.
_DESCRIBING = frozenset(
    b"x-forwarded-method x-forwarded-uri x-forwarded-url x-original-method x-original-uri x-original-url".split()
)
_LEFT_OUT = _DESCRIBING | SELECTIVE | frozenset(
    b"content-type content-encoding content-language content-location content-range expect trailer "
    b"sec-websocket-key sec-websocket-extensions sec-websocket-version sec-websocket-protocol".split()
)  # fmt: skip


def question_head(
    request: Request,
    *,
    scheme: str,
    client_ip: str,
    nearest_ip: str | None,
    line: bytes,
    host_line: bytes | None,
    removed: frozenset[bytes],
    close: bool,
    trace: Trace | None = None,
) -> bytes:
    """Return the head that asks about a request.

    Args:
        request: the client's.
        scheme: by which the client speaks to us.
        client_ip: the client's address.
        nearest_ip: the address of the trusted proxy that sent the request; None for any other client.
        line: the request line.
        host_line: the Host line; None: the client's host.
        removed: further fields of the client that are left out, as `fold` names them.
        close: whether the connection is for this question alone.
        trace: of the request; the server is told of it.
    """
    prepared = prepare_fields(request.block)
    if nearest_ip is None:
        block = untrusted_fields(request, prepared, scheme, client_ip)
    else:
        block = trusted_fields(request, prepared, scheme, client_ip, nearest_ip)
    kept, described = (
        [],
        {b"x-forwarded-proto": scheme.encode(), b"x-forwarded-host": request.authority.encode("latin-1")},
    )
    for one in block.split(b"\r\n"):
        name, _, value = one.partition(b":")
        folded = fold(name.lower())
        if one and folded not in _LEFT_OUT and folded not in removed:
            kept.append(one)
            if folded in described:
                described[folded] = value.strip(b" \t")
    proto, host = described.values()
    method, uri = request.method.encode("latin-1"), request_uri(request).encode("latin-1")
    if trace is not None:
        kept = [one for one in kept if one.partition(b":")[0].lower() not in trace.replaced]
        kept.append(b"traceparent: " + trace.traceparent())
    kept += (
        b"X-Forwarded-Method: " + method,
        b"X-Forwarded-Uri: " + uri,
        b"X-Original-Method: " + method,
        b"X-Original-URL: %b://%b%b" % (proto, host, uri),
    )
    start = line + (host_line or b"Host: %b\r\n" % request.authority.encode("latin-1"))
    return start + b"\r\n".join(kept) + (b"\r\nConnection: close\r\n\r\n" if close else b"\r\n\r\n")


def request_uri(request: Request) -> str:
    """Return the path, in the form in which rules and upstreams know it, and the query."""
    return f"{request.path}?{request.query}" if request.has_query else request.path
