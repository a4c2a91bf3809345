"""Names of header fields as applications see them.

CGI, FastCGI, WSGI and PHP pass a request's fields in variables such as `HTTP_X_REAL_IP`, in which different names
become the same: most servers turn `-` into `_`, some every octet that is not a letter or digit. A field that an
application trusts must therefore not arrive under any other spelling (RFC 3875 §4.1.18).
"""

from __future__ import annotations

from npserver.regex import regex

#: A token (RFC 9110 §5.6.2), as the names of fields, methods and cookies are.
TOKEN = regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ALIKE = bytes([octet if octet < 0x80 and chr(octet).isalnum() else 0x2D for octet in range(256)])


def fold(name: bytes) -> bytes:
    """Return the one name of all those that an application may take for `name`, which is in lower case."""
    return name.translate(_ALIKE)
