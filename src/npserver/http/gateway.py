"""What a gateway makes of a request before it passes it on (RFC 9110 §7.6). Pure; called by `serve.proxy`.

A request head is taken apart and written anew: fields between the client and us are left out, those that say who the
client is are ours, the framing is that of the body we send.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from npserver.http.forwarded import client_scheme, forwarded_element, is_identity
from npserver.http.message import Framing, Request

PSEUDONYM = b"npserver"  # what we call ourselves in Via
MAX_LOOPS = 8  # how often a request may have passed us: then two proxies send it to and fro

#: Fields between two neighbours (§7.6.1), and those that we write ourselves.
_NOT_PASSED = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization te transfer-encoding upgrade http2-settings "
    b"host content-length expect".split()
)
_VIA = [b"Via: 1.%d %b\r\nX-Forwarded-For: " % (minor_version, PSEUDONYM) for minor_version in (0, 1)]
_PLAIN_OPTIONS = frozenset((b"", b"keep-alive", b"close"))
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})  # these say so when they have none (RFC 9110 §8.6)

#: Identity fields that are written anew even for trusted proxies.
_REWRITTEN_IDENTITY = frozenset((b"x-forwarded-for", b"x-real-ip", b"forwarded"))

# What is done with a request's field.
_PASS = 0
_DROP = 1
_IDENTITY = 2  # believed from trusted proxies only


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request to us, as far as the fields that we write depend on it."""

    client_ip: str
    peer_ip: str
    scheme: str  # what it speaks to us
    is_trusted: bool  # it is a trusted proxy


@dataclass(frozen=True, slots=True)
class OutgoingHead:
    """A request head without its first line, Host and the last address: what does not depend on target and client.

    The whole is request line, Host line, `fields`, `client_lines`, `framing`.
    """

    fields: bytes  # ends with the begun line `X-Forwarded-For: `
    framing: bytes  # ends with the empty line


def client_lines(client_ip: str, nearest_ip: str) -> bytes:
    """What follows `OutgoingHead.fields`: the end of X-Forwarded-For (who sent us the request), and X-Real-IP."""
    return b"%b\r\nX-Real-IP: %b\r\n" % (nearest_ip.encode(), client_ip.encode())


def outgoing_head(request: Request, sender: Sender, *, forwarded: bool, close: bool, upgrade: bytes) -> OutgoingHead:
    """Make the head of the request passed on.

    Args:
        forwarded: write `Forwarded` (RFC 7239) too.
        close: the connection is for this request alone.
        upgrade: the protocols asked for (`upgrade_of`), empty for none.
    """
    # hot: proxy-varied
    fields = request.fields
    named: frozenset[bytes] | set[bytes] = frozenset()
    if b"connection" in fields:
        options = {option.strip(b" \t") for option in fields[b"connection"].lower().split(b",")}
        named = options - _PLAIN_OPTIONS
    is_trusted = sender.is_trusted
    parts: list[bytes] = []
    for name, value in request.raw_fields:
        role = _classify(name)
        if role == _PASS:
            if named and name.lower() in named:
                continue
        elif role == _DROP or not is_trusted:
            continue
        parts += (name, b": ", value, b"\r\n")
    if not is_trusted or b"x-forwarded-proto" not in fields:
        scheme = (is_trusted and client_scheme(fields)) or sender.scheme
        parts += (b"X-Forwarded-Proto: ", scheme.encode(), b"\r\n")
    if (not is_trusted or b"x-forwarded-host" not in fields) and request.authority:
        parts += (b"X-Forwarded-Host: ", request.authority.encode("latin-1"), b"\r\n")
    if forwarded:
        nearest_ip = sender.peer_ip if is_trusted else sender.client_ip
        element = forwarded_element(nearest_ip, sender.scheme, request.authority)
        if is_trusted and b"forwarded" in fields:
            element = fields[b"forwarded"] + b", " + element
        parts += (b"Forwarded: ", element, b"\r\n")
    elif is_trusted and b"forwarded" in fields:
        parts += (b"Forwarded: ", fields[b"forwarded"], b"\r\n")
    parts.append(_VIA[request.minor_version])
    if is_trusted and fields.get(b"x-forwarded-for"):
        parts += (fields[b"x-forwarded-for"], b", ")
    return OutgoingHead(b"".join(parts), _framing_lines(request, close=close, upgrade=upgrade))


def upgrade_of(request: Request) -> bytes:
    """The protocols to ask the upstream for: not HTTP/2, which would carry requests past us (RFC 9113 §3.1)."""
    if not request.upgrade or request.framing is not Framing.NONE:
        return b""
    protocols = [one.strip() for one in request.upgrade.split(b",")]
    return b", ".join([one for one in protocols if one and not one.startswith((b"h2", b"http/"))])


def is_loop(request: Request) -> bool:
    """Whether the request has passed us so often that it must be going in circles."""
    via = request.fields.get(b"via")
    return via is not None and via.count(b" " + PSEUDONYM) >= MAX_LOOPS


def _framing_lines(request: Request, *, close: bool, upgrade: bytes) -> bytes:
    """Framing and connection fields, and the end of the head."""
    if request.framing is Framing.LENGTH:
        lines = b"Content-Length: %d\r\n" % request.length
    elif request.framing is Framing.CHUNKED:
        lines = b"Transfer-Encoding: chunked\r\n"
    else:
        lines = b"Content-Length: 0\r\n" if request.method in _BODY_EXPECTED else b""
    if request.expects_continue:
        lines += b"Expect: 100-continue\r\n"
    options = []
    if upgrade:
        lines += b"Upgrade: " + upgrade + b"\r\n"
        options.append(b"Upgrade")
    elif close:
        options.append(b"close")
    if b"trailers" in request.fields.get(b"te", b"").lower():
        lines += b"TE: trailers\r\n"
        options.append(b"TE")
    if options:
        lines += b"Connection: " + b", ".join(options) + b"\r\n"
    return lines + b"\r\n"


@lru_cache(maxsize=1024)
def _classify(name: bytes) -> int:
    key = name.lower()
    if key in _NOT_PASSED:
        return _DROP
    if not is_identity(key):
        return _PASS
    return _DROP if key in _REWRITTEN_IDENTITY or b"_" in key else _IDENTITY
