"""The keys of session tickets (RFC 5077 §4, RFC 8446 §4.6.1): the same in all workers, replaced daily.

All processes hold the same two secrets, the current and the previous one. The master makes the first before it forks.
The controller publishes a new random one each day: a secret cannot be computed from a later one. The keys of a context
are derived from a secret and from all that decides who is admitted, so that a session of one certificate is none of
another's, and a changed revocation list voids the sessions of before.

Python's ssl has no call that sets the keys. OpenSSL has: `SSL_CTX_ctrl`, which is called through ctypes, in the library
that Python's own `_ssl` is linked to, with the pointer that is the first field of an `ssl.SSLContext`. This is so in
the versions of CPython in `KNOWN`, and tried once with contexts made for it. Elsewhere (another Python, or one with
OpenSSL built in) nothing is touched: contexts keep the keys that OpenSSL has made, which are common to all workers as
far as these are forked from the master, until the first daily change gives each worker its own.
"""

from __future__ import annotations

import hmac
import os
import ssl
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct, field

KNOWN = {(3, 11), (3, 12), (3, 13), (3, 14)}  # versions of CPython whose SSLContext begins with its pointer
ROTATION_S = 86_400.0  # the age at which the current secret becomes the previous one
NAME_BYTES = 16  # of the keys' name, with which each ticket begins

_KEYS_BYTES = 80  # name, HMAC key, AES key: 16, 32 and 32 bytes since OpenSSL 1.1.0
_GET_KEYS, _SET_KEYS = 58, 59  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS, SSL_CTRL_SET_TLSEXT_TICKET_KEYS of openssl/ssl.h

#: Calls SSL_CTX_ctrl with a context, a command, and a buffer that it reads or fills.
Control = Callable[[ssl.SSLContext, int, Any], int]


class TicketSecrets(Struct, frozen=True):
    """The secrets of which the ticket keys of all contexts are derived."""

    current: bytes = field(default_factory=lambda: os.urandom(32))
    previous: bytes = b""  # b"" before the first change
    made_at: float = field(default_factory=time.time)  # seconds since 1970

    def is_due(self, now: float) -> bool:
        """Return whether the current secret is too old, or from the future: the clock was set back."""
        return not 0 <= now - self.made_at < ROTATION_S

    def successor(self, now: float) -> TicketSecrets:
        """Return a new secret, with the current one as the previous one."""
        return TicketSecrets(os.urandom(32), self.current, now)

    def __repr__(self) -> str:
        return f"<TicketSecrets of {self.made_at:.0f}>"


def derive(secret: bytes, identity: bytes) -> bytes:
    """Return the keys of one context, whose first `NAME_BYTES` are their name (HKDF-Expand, RFC 5869 §2.3)."""
    first = hmac.digest(secret, identity + b"\x01", "sha512")
    return (first + hmac.digest(secret, first + identity + b"\x02", "sha512"))[:_KEYS_BYTES]


def set_keys(context: ssl.SSLContext, keys: bytes) -> bool:
    """Set the ticket keys of a context. Return False, with nothing done, if this Python does not let them be set."""
    control = _control()
    return control is not None and control(context, _SET_KEYS, keys) == 1


def get_keys(context: ssl.SSLContext) -> bytes:
    """Return the ticket keys of a context; b"" if this Python does not let them be read."""
    control = _control()
    return _read(control, context) if control is not None else b""


def _read(control: Control, context: ssl.SSLContext) -> bytes:
    keys = bytearray(_KEYS_BYTES)
    return bytes(keys) if control(context, _GET_KEYS, keys) == 1 else b""


@cache
def _control() -> Control | None:
    """Return the call of SSL_CTX_ctrl; None if it is not certain that it can be used."""
    import _ssl

    library = getattr(_ssl, "__file__", None)
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in KNOWN or library is None:
        return None
    import ctypes

    try:
        function = ctypes.PyDLL(library).SSL_CTX_ctrl  # a call of microseconds need not release the GIL
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    function.restype = ctypes.c_long

    def control(context: ssl.SSLContext, command: int, data: bytes | bytearray) -> int:
        pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
        if isinstance(data, bytearray):
            return int(function(pointer, command, len(data), (ctypes.c_char * len(data)).from_buffer(data)))
        return int(function(pointer, command, len(data), data))

    return control if _does_work(control) else None


def _does_work(control: Control) -> bool:
    """Try the call with contexts made for it: two have different keys, and the ones that are set can be read."""
    one, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    keys = bytes(range(_KEYS_BYTES))
    made = {_read(control, one), _read(control, other)}
    return len(made) == 2 and b"" not in made and control(one, _SET_KEYS, keys) == 1 and _read(control, one) == keys
