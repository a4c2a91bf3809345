"""Sticky sessions: the cookie that names a client's target, so that its later requests go there too."""

from __future__ import annotations

from hashlib import blake2b


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


def cookie_line(name: str, value: bytes, max_age_s: float | None, *, secure: bool) -> bytes:
    """Return the Set-Cookie field line, with its CRLF."""
    age = f"; Max-Age={int(max_age_s)}" if max_age_s is not None else ""
    flag = "; Secure" if secure else ""
    return b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n" % (name.encode(), value, (age + flag).encode())
