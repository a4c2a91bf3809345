"""Reads the server name and the ALPN protocols of a TLS ClientHello without terminating TLS.

Pure. Listeners choose a certificate by it, and forwards a target; both then use all bytes read so far. RFC 8446 §4.1.2
and §5.1 (message and records), RFC 6066 §3 (server name), RFC 7301 §3.1 (ALPN). PostgreSQL clients first ask for TLS in
a message of their own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_HELLO_BYTES = 64 << 10  # browsers with post-quantum key shares send about 2 KiB
MAX_WIRE_BYTES = 80 << 10  # of the records that carry it
MAX_RECORD_BYTES = 1 << 14  # RFC 8446 §5.1

_EXTENSION = struct.Struct(">HH")  # type and length
_HANDSHAKE = 22  # content type of a record
_CLIENT_HELLO = 1  # type of a handshake message
_SERVER_NAME = 0  # extension
_ALPN = 16  # extension
_ALPN_TYPE = _ALPN.to_bytes(2, "big")
_HOST_NAME = 0  # type of a server name

#: PostgreSQL's SSLRequest and GSSENCRequest (its protocol's message formats): a length of 8, then a code.
POSTGRES_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
POSTGRES_GSS_REQUEST = bytes.fromhex("0000000804d21630")


class HelloError(ValueError):
    """The bytes are not a ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The fields of a ClientHello that are used."""

    server_name: str = ""  # lower case, without a trailing dot; "" when the client names none
    protocols: tuple[str, ...] = ()  # ALPN, in the client's order


def is_postgres_request(data: bytes, request: bytes = POSTGRES_SSL_REQUEST) -> bool | None:
    """Return whether `data` begins with `request`; None if more data is needed to tell."""
    if len(data) >= len(request):
        return data.startswith(request)
    return None if request.startswith(data) else False


def quick_server_name(data: bytes) -> str | None:
    """Return the server name of a ClientHello that is complete in one record; None if it takes a `HelloReader`.

    Most are. What follows the name is not looked at.
    """
    # hot: tls-connect
    try:
        end = 5 + int.from_bytes(data[3:5], "big")
        if len(data) != end or data[5] != _CLIENT_HELLO or int.from_bytes(data[6:9], "big") != end - 9:
            return None
        at = 43  # behind the headers of record and message, legacy_version and random
        at += 1 + data[at]  # legacy_session_id
        at += 2 + int.from_bytes(data[at : at + 2], "big")  # cipher_suites
        at += 1 + data[at]  # legacy_compression_methods
        if at == end:
            return ""
        at += 2
        while at < end:
            kind, size = _EXTENSION.unpack_from(data, at)
            at += 4
            if kind == _SERVER_NAME:
                return _server_name(data[at : at + size])
            at += size
        return "" if at == end else None
    except (IndexError, struct.error, HelloError):
        return None


def offered_protocols(data: bytes) -> tuple[str, ...]:
    """Return the ALPN protocols of a complete ClientHello; () if it has none, or is not one."""
    if _ALPN_TYPE not in data:
        return ()
    try:
        hello = HelloReader().feed(data)
    except HelloError:
        return ()
    return hello.protocols if hello is not None else ()


class HelloReader:
    """Collects the first bytes of a connection, in `data`, until its ClientHello is complete."""

    __slots__ = ("_message", "_next", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._message = bytearray()  # of the handshake protocol, without record headers
        self._next = 0  # where the next record starts in `data`

    def __repr__(self) -> str:
        return f"<HelloReader {len(self.data)} bytes>"

    def feed(self, data: bytes) -> ClientHello | None:
        """Add the next bytes. Return the ClientHello once it is complete, else None.

        Raises: HelloError as soon as the bytes cannot become a ClientHello.
        """
        self.data += data
        while (size := self._needed()) is None or len(self._message) < size:
            if not self._take_record():
                return None
        return _parse(bytes(self._message[4:size]))

    def _needed(self) -> int | None:
        """Return the size of the whole message; None until its header is complete."""
        message = self._message
        if message and message[0] != _CLIENT_HELLO:
            raise HelloError(f"expected a ClientHello, got handshake message {message[0]}")
        if len(message) < 4:
            return None
        size = 4 + int.from_bytes(message[1:4], "big")
        if size > MAX_HELLO_BYTES:
            raise HelloError(f"ClientHello of {size} bytes, at most {MAX_HELLO_BYTES} are accepted")
        return size

    def _take_record(self) -> bool:
        """Append the fragment of the next record to the message. Return False if the record is not complete."""
        data, start = self.data, self._next
        if len(data) > start and data[start] != _HANDSHAKE:
            raise HelloError(f"expected a TLS handshake record, got type {data[start]}")
        if len(data) > start + 1 and data[start + 1] != 3:
            raise HelloError(f"expected TLS version 3.x, got {data[start + 1]}.x")
        if len(data) < start + 5:
            return False
        length = int.from_bytes(data[start + 3 : start + 5], "big")
        if not 0 < length <= MAX_RECORD_BYTES:
            raise HelloError(f"TLS record of {length} bytes, expected 1 to {MAX_RECORD_BYTES}")
        end = start + 5 + length
        if end > MAX_WIRE_BYTES:
            raise HelloError(f"ClientHello in more than {MAX_WIRE_BYTES} bytes")
        if len(data) < end:
            return False
        self._message += data[start + 5 : end]
        self._next = end
        return True


class _Cursor:
    """Reads the fields of a message one after the other. Raises: HelloError if one reaches past the end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise HelloError("ClientHello with a field that reaches past its end")
        return self._data[self._at - size : self._at]

    def vector(self, size: int) -> bytes:
        """Return a field that follows its length, a number of `size` bytes."""
        return self.take(self.number(size))


def _parse(body: bytes) -> ClientHello:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # legacy_version, random
    cursor.vector(1)  # legacy_session_id
    cursor.vector(2)  # cipher_suites
    cursor.vector(1)  # legacy_compression_methods
    server_name = ""
    protocols: tuple[str, ...] = ()
    seen: set[int] = set()
    extensions = _Cursor(cursor.vector(2) if cursor else b"")  # TLS 1.2 allows none at all (RFC 5246 §7.4.1.2)
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:  # RFC 8446 §4.2
            raise HelloError(f"extension {kind} given twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            server_name = _server_name(content)
        elif kind == _ALPN:
            protocols = _protocols(content)
    return ClientHello(server_name, protocols)


def _server_name(content: bytes) -> str:
    """Return the host name; "" if there is none, or none that a host can have.

    The list has at most one name of each type (RFC 6066 §3).
    """
    names = _Cursor(_Cursor(content).vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind != _HOST_NAME:
            continue
        if len(name) > 255 or not name.isascii() or any(byte <= 32 or byte == 127 for byte in name):
            return ""
        return name.decode("ascii").lower().removesuffix(".")
    return ""


def _protocols(content: bytes) -> tuple[str, ...]:
    names = _Cursor(_Cursor(content).vector(2))
    found = []
    while names:
        name = names.vector(1)
        if not name:  # RFC 7301 §3.1
            raise HelloError("empty ALPN protocol name")
        found.append(name.decode("latin-1"))
    return tuple(found)
