"""The head of a request as a proxy forwards it (RFC 9110 §7.6): the fields it keeps, and those that it writes.

Hop-by-hop fields are removed, the fields that identify the client are written by npserver, and the framing fields
describe the body that it sends. Called by `web.handlers.proxy.proxy`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from msgspec import Struct

from npserver.http.connection_auth import uses_connection_auth
from npserver.http.field_names import fold
from npserver.http.fields import NOT_FORWARDED, join_fields
from npserver.http.forwarded import client_scheme, forwarded_element, is_identity
from npserver.http.memo import Memo
from npserver.http.request import BY_LENGTH, CHUNKED, NO_BODY, HeaderBlock, Request
from npserver.http.request_parser import connection_options
from npserver.networks import UNIX_PEER
from npserver.web.handlers.proxy.references import REFERRING

PSEUDONYM = b"npserver"  # our name in CDN-Loop (RFC 8586 §2) and Via (RFC 9110 §7.6.3)
MAX_LOOPS = 8  # a request that has passed this server so often is in a loop of proxies

_PLAIN_OPTIONS = frozenset((b"", b"keep-alive", b"close"))
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})  # send Content-Length: 0 if there is no body (RFC 9110 §8.6)
#: Identity fields that are replaced even in requests of trusted proxies.
_REWRITTEN_IDENTITY = frozenset((b"x-forwarded-for", b"x-real-ip", b"forwarded"))

# The roles of a request's fields.
_PASS = 0  # forwarded
_DROP = 1
_IDENTITY = 2  # forwarded for trusted proxies only


def _role(key: bytes) -> int:
    folded = fold(key)
    if folded in NOT_FORWARDED:
        return _DROP
    if not is_identity(folded):
        return _PASS
    return _DROP if key in _REWRITTEN_IDENTITY or key != folded else _IDENTITY


class ForwardedFields(Struct, frozen=True, eq=False):
    """The header block prepared for forwarding."""

    kept: bytes  # the lines forwarded for a client that is not a trusted proxy, each with its CRLF
    named: frozenset[bytes]  # the fields that Connection names, which are not forwarded
    takes_trailers: bool  # whether TE names trailers
    is_loop: bool  # whether CDN-Loop or Via names us `MAX_LOOPS` times or more
    has_references: bool  # whether it has fields with URIs of the server (`web.handlers.proxy.references`)
    binds_connection: bool  # whether it authenticates the connection (`http.connection_auth`)


def _prepare(block: HeaderBlock) -> ForwardedFields:
    fields = join_fields(block.significant)
    named = connection_options(fields.get(b"connection", b"")) - _PLAIN_OPTIONS
    lines = _with_keys(block.lines)
    if block.own:
        own = block.own
        kept = [line for line, key in lines if fold(key) in own or (_role(key) == _PASS and key not in named)]
    else:
        kept = [line for line, key in lines if _role(key) == _PASS and key not in named]
    credentials = [line.partition(b":")[2] for line, key in lines if key == b"authorization"]
    return ForwardedFields(
        b"".join([line + b"\r\n" for line in kept]),
        named,
        b"trailers" in fields.get(b"te", b"").lower(),
        max(fields.get(name, b"").count(PSEUDONYM) for name in (b"cdn-loop", b"via")) >= MAX_LOOPS,
        any(key in REFERRING for _, key in lines),
        any(map(uses_connection_auth, credentials)),
    )


def prepare_fields(block: HeaderBlock) -> ForwardedFields:
    """Return the block prepared for forwarding. Computed at the first call and cached in the block."""
    if block.forwarded is None:
        block.forwarded = _prepare(block)
    return cast("ForwardedFields", block.forwarded)


def untrusted_fields(request: Request, prepared: ForwardedFields, scheme: str, client_ip: str) -> bytes:
    """Return the field lines to forward for a client that is not a trusted proxy.

    The identity fields that it sent are replaced by ours.

    Args:
        request: the client's.
        prepared: its header block.
        scheme: by which the client speaks to us.
        client_ip: the client's address.
    """
    # hot: proxy-varied
    own = _own_lines[request.authority, scheme, client_ip]
    if request.cookie and b"cookie" not in prepared.named:
        return b"".join((prepared.kept, request.cookie, b"\r\n", own))
    return prepared.kept + own


def trusted_fields(request: Request, prepared: ForwardedFields, scheme: str, client_ip: str, nearest_ip: str) -> bytes:
    """Return the field lines to forward for a trusted proxy.

    The identity fields that it sent are kept, and its forwarding chain is extended.

    Args:
        request: the proxy's.
        prepared: its header block.
        scheme: by which the proxy speaks to us.
        client_ip: the address of the client behind the proxy.
        nearest_ip: the proxy's address.
    """
    fields, own = request.fields, request.block.own
    kept = []
    for line, key in _with_keys(request.lines):
        role = _role(key)
        if role == _IDENTITY or (role == _PASS and key not in prepared.named) or fold(key) in own:
            kept.append(line)
    if b"x-forwarded-proto" not in fields:
        kept.append(b"X-Forwarded-Proto: " + (client_scheme(fields) or scheme).encode())
    if b"x-forwarded-host" not in fields and request.authority:
        kept.append(b"X-Forwarded-Host: " + request.authority.encode("latin-1"))
    if b"forwarded" in fields:
        kept.append(b"Forwarded: " + fields[b"forwarded"])
    chain = fields.get(b"x-forwarded-for")
    hops = [one for one in (chain, address_of(nearest_ip)) if one]
    kept.append(_client_lines(b", ".join(hops), client_ip))
    return b"\r\n".join(kept)


def forwarded_line(request: Request, scheme: str, nearest_ip: str) -> bytes:
    """Return a field line with our own element of Forwarded (RFC 7239 §4)."""
    return b"Forwarded: " + forwarded_element(nearest_ip, scheme, request.authority) + b"\r\n"


def via_line(request: Request) -> bytes:
    """Return our line of Via (RFC 9110 §7.6.3)."""
    version = b"2.0" if request.is_http2 else b"3.0" if request.is_http3 else b"1.%d" % request.minor_version
    return b"Via: %b %b\r\n" % (version, PSEUDONYM)


def framing_lines(
    request: Request, prepared: ForwardedFields, *, close: bool, upgrade: bytes, length: int | None = None
) -> bytes:
    """Return the framing and connection fields, and the end of the head.

    Args:
        request: the client's.
        prepared: its header block.
        close: whether the connection to the upstream is for this request alone.
        upgrade: the protocols to ask for (`upgrade_of`); empty for none.
        length: of a body that is already there, in bytes; None: it is framed as by the client.
    """
    # hot: proxy-varied
    if request.framing is NO_BODY and not close and not upgrade and not prepared.takes_trailers:
        return b"Content-Length: 0\r\n\r\n" if request.method in _BODY_EXPECTED else b"\r\n"
    if length is not None:
        lines = b"Content-Length: %d\r\n" % length
    elif request.framing is BY_LENGTH:
        lines = b"Content-Length: %d\r\n" % request.length
    elif request.framing is CHUNKED:
        lines = b"Transfer-Encoding: chunked\r\n"
    else:
        lines = b"Content-Length: 0\r\n" if request.method in _BODY_EXPECTED else b""
    if request.expects_continue and length is None:
        lines += b"Expect: 100-continue\r\n"
    options = []
    if upgrade:
        lines += b"Upgrade: " + upgrade + b"\r\n"
        options.append(b"Upgrade")
    elif close:
        options.append(b"close")
    if prepared.takes_trailers:
        lines += b"TE: trailers\r\n"
        options.append(b"TE")
    if options:
        lines += b"Connection: " + b", ".join(options) + b"\r\n"
    return lines + b"\r\n"


def upgrade_of(request: Request) -> bytes:
    """Return the value of Upgrade to forward; empty for none.

    HTTP/2 is left out: its requests would bypass the proxy (RFC 9113 §3.1).
    """
    if not request.upgrade or request.framing is not NO_BODY:
        return b""
    protocols = [one.strip() for one in request.upgrade.split(b",")]
    return b", ".join([one for one in protocols if one and not one.startswith((b"h2", b"http/"))])


def address_of(client_ip: str) -> bytes:
    """Return an address for a chain; empty for the peer of a Unix socket, which has none."""
    return b"" if client_ip == UNIX_PEER else client_ip.encode()


def _client_lines(hops: bytes, client_ip: str) -> bytes:
    """Return the lines CDN-Loop, X-Forwarded-For and X-Real-IP. `hops`: the chain, ending in who sent us the request.

    Loops are found by CDN-Loop rather than Via, because nginx does not compress answers to requests with Via.
    """
    lines = b"CDN-Loop: %b\r\n" % PSEUDONYM
    if hops:
        lines += b"X-Forwarded-For: %b\r\n" % hops
    if address := address_of(client_ip):
        lines += b"X-Real-IP: %b\r\n" % address
    return lines


def _write_own(key: tuple[str, str, str]) -> bytes:
    authority, scheme, client_ip = key
    host = f"X-Forwarded-Host: {authority}\r\n" if authority else ""
    start = f"{host}X-Forwarded-Proto: {scheme}\r\n".encode("latin-1")
    return start + _client_lines(address_of(client_ip), client_ip)


#: Our own lines by authority, scheme and client address.
_own_lines = Memo(_write_own, 4096)


def _with_keys(lines: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    return [(line, line.partition(b":")[0].lower()) for line in lines]
