"""Sticky sessions: the cookie that names a client's target, so that its later requests go there too."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.http.field_names import TOKEN

if TYPE_CHECKING:
    from npserver.upstream.config import Sticky


def cookie_value(identity: str) -> bytes:
    """Return the cookie value that names a target: a hash, which does not disclose the target's address."""
    return blake2b(identity.encode(), digest_size=8, person=b"sticky").hexdigest().encode()


def find_cookie(cookies: bytes, name: bytes) -> bytes | None:
    """Return the value of the first cookie `name` in a Cookie field (RFC 6265 §5.4), or None."""
    if name not in cookies:
        return None
    for pair in cookies.split(b";"):
        key, _, value = pair.partition(b"=")
        if key.strip() == name:
            return value.strip().strip(b'"')
    return None


def cookie_name(sticky: Sticky, upstream: str) -> bytes:
    """Return the name of an upstream's cookie: by default one of its own, as a host may have several upstreams."""
    if sticky.cookie is not None:
        return sticky.cookie.encode("ascii")
    text = "".join(one if (one.isalnum() and one.isascii()) or one in "-_." else "-" for one in upstream)
    if text != upstream:  # others may become the same text
        text += "-" + cookie_value(upstream)[:8].decode()
    return b"npserver_target_%b" % text.encode()


def cookie_fault(sticky: Sticky) -> str:
    """Return why browsers would not accept the cookie (RFC 6265bis §4.1.3, §5.5), and what to do; "" if they do."""
    name = sticky.cookie
    if name is not None and not TOKEN.fullmatch(name):
        return f"the name of a cookie has letters, digits and !#$%&'*+-.^_`|~, got {clip(name)}"
    if name is not None and name.lower().startswith(("__host-", "__secure-")) and not sticky.secure:
        return f"browsers refuse a cookie named {clip(name)} without 'secure': true"
    if sticky.same_site == "none" and not sticky.secure:
        return "browsers refuse a cookie with 'same_site' none without 'secure': true"
    return ""


def cookie_line(name: bytes, value: bytes, sticky: Sticky) -> bytes:
    """Return the Set-Cookie field line, with its CRLF."""
    text = f"; Path=/; HttpOnly; SameSite={sticky.same_site.capitalize()}"
    if sticky.max_age is not None:
        text += f"; Max-Age={int(sticky.max_age)}"
    if sticky.secure:
        text += "; Secure"
    return b"Set-Cookie: %b=%b%b\r\n" % (name, value, text.encode())
