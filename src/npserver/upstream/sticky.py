"""Cookies that keep a client on its target."""

from __future__ import annotations

from hashlib import blake2b


def cookie_value(identity: str) -> bytes:
    """What the cookie says for a target: not its address, which clients need not know."""
    return blake2b(identity.encode(), digest_size=8, person=b"sticky").hexdigest().encode()


def find_cookie(cookies: bytes, name: bytes) -> bytes | None:
    """The value of the first cookie `name` in a Cookie field (RFC 6265 §5.4)."""
    if name not in cookies:
        return None
    for pair in cookies.split(b";"):
        key, _, value = pair.partition(b"=")
        if key.strip() == name:
            return value.strip().strip(b'"')
    return None


def cookie_line(name: str, value: bytes, max_age_s: float | None, *, secure: bool) -> bytes:
    """The Set-Cookie line, ending in CRLF."""
    age = f"; Max-Age={int(max_age_s)}" if max_age_s is not None else ""
    flag = "; Secure" if secure else ""
    return b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n" % (name.encode(), value, (age + flag).encode())
