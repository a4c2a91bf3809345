"""Signed messages: TSIG (RFC 8945), a MAC of the whole message by a key that both sides have. Pure.

Both sides of queries, updates and transfers use this. A client signs its request with `sign`, and checks the reply with
`verify`, to which it gives the request's MAC. A server does the same with the roles changed; what it refuses it answers
by `refusal`. Messages of a transfer are signed as one stream, by `StreamSigner` and `StreamVerifier`.

The record, the last one of a message: name of the key, type 250 (2 bytes), class ANY (2), TTL 0 (4), length (2), then
name of the algorithm, time (6, seconds since 1970), fudge (2, seconds), length of the MAC (2), MAC, id of the message
as it was signed (2), error (2), length of other data (2), other data.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from struct import Struct, error, pack

import msgspec

from npserver.dns.message import codes
from npserver.dns.message.header import HEADER_BYTES
from npserver.dns.message.name import to_text
from npserver.dns.message.query import name_end, record_name_end
from npserver.dns.message.sections import read_name

TSIG = codes.TSIG  # the record type
FUDGE_S = 300  # RFC 8945 §10: how far the clocks may be apart
MAX_UNSIGNED = 99  # RFC 8945 §5.3.1: messages of a stream in a row without a signature
MIN_MAC_BYTES = 10  # RFC 8945 §5.2.2.1

#: What a message was refused for (RFC 8945 §3).
BADSIG, BADKEY, BADTIME, BADTRUNC = 16, 17, 18, 22
ERROR_NAMES = {BADSIG: "BADSIG", BADKEY: "BADKEY", BADTIME: "BADTIME", BADTRUNC: "BADTRUNC"}

#: The hash of each algorithm. Those with MD5 and SHA-1, and truncated ones, are left out (RFC 8945 §6, §10).
ALGORITHMS = {"hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}

_RECORD = Struct("!HHIH")
_ID_AND_ERROR = Struct("!2sH")
_TIMES = Struct("!HIH")  # the time, of 6 bytes in two parts, and the fudge


class TsigKey(msgspec.Struct, frozen=True):
    """A key that both sides have."""

    name: bytes  # in lower case
    secret: bytes
    algorithm: str = "hmac-sha256"

    def __repr__(self) -> str:
        return f"<TsigKey {to_text(self.name)} {self.algorithm}>"  # without the secret


class Tsig(msgspec.Struct, frozen=True):
    """The TSIG record of a message."""

    start: int  # where it begins in the message
    name: bytes  # in lower case
    algorithm: bytes  # a name in lower case
    time_s: int
    fudge_s: int
    mac: bytes
    original_id: bytes
    error: int
    other: bytes

    def message(self, signed: bytes) -> bytes:
        """Return the message without the record, as it was signed."""
        count = int.from_bytes(signed[10:12], "big") - 1
        return self.original_id + signed[2:10] + count.to_bytes(2, "big") + signed[HEADER_BYTES : self.start]


class TsigError(ValueError):
    """A message is not signed as it must be.

    Attributes: `code` (BADSIG, ..., or 0 if the record is missing), `is_told` (whether the other side says so in its
    reply), `server_time_s` (with BADTIME that is told: the clock of the server), `tsig` (the record, if there is one).
    """

    def __init__(self, message: str, code: int = 0, tsig: Tsig | None = None, *, is_told: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.tsig = tsig
        self.is_told = is_told
        is_time = is_told and tsig is not None and code == BADTIME and len(tsig.other) == 6
        self.server_time_s = int.from_bytes(tsig.other, "big") if tsig is not None and is_time else None


def sign(
    message: bytes, key: TsigKey, now: int, *, request_mac: bytes = b"", code: int = 0, other: bytes = b""
) -> tuple[bytes, bytes]:
    """Return the signed message, and its MAC, by which the reply is verified.

    Args:
        message: a whole message without a TSIG record.
        now: the time of day, in seconds since 1970.
        request_mac: for a reply: the MAC of the request.
        code: for a reply: BADTIME, whose `other` is the server's clock, in 6 bytes.
    """
    variables = _variables(key.name, _name_of(key), now, FUDGE_S, code, other)
    mac = _mac(key, _with_length(request_mac) if request_mac else b"", message, variables)
    return _attach(message, key.name, _name_of(key), now, mac, code, other), mac


def refusal(reply: bytes, failure: TsigError, keys: Mapping[bytes, TsigKey], now: int) -> bytes:
    """Return the reply to a request that `verify` refused (RFC 8945 §5.2): NOTAUTH with the reason, in its TSIG record.

    With BADTIME and BADTRUNC it is signed, else it is not. `reply`: a header, with or without the question.
    """
    tsig = failure.tsig
    if tsig is None:
        raise ValueError("a message without a TSIG record is not answered with one")
    reply = reply[:3] + bytes((reply[3] & 0xF0 | codes.NOTAUTH,)) + reply[4:]
    key = keys.get(tsig.name)
    if key is None or failure.code not in (BADTIME, BADTRUNC):
        return _attach(reply, tsig.name, tsig.algorithm, tsig.time_s, b"", failure.code, b"")
    other = now.to_bytes(6, "big") if failure.code == BADTIME else b""
    time_s = tsig.time_s if failure.code == BADTIME else now  # §5.2.3: the client takes the reply for one of its time
    return sign(reply, key, time_s, request_mac=tsig.mac, code=failure.code, other=other)[0]


def verify(message: bytes, keys: Mapping[bytes, TsigKey], now: int, *, request_mac: bytes = b"") -> Tsig:
    """Return the TSIG record of a message that is signed by one of these keys, by name (RFC 8945 §5.2, §5.3).

    Raises: TsigError; with `is_told` for a reply that says why the request was refused, which is signed only with
    BADTIME and BADTRUNC. Other ValueErrors for what is no message: a server answers FORMERR.
    """
    tsig, key = _record_and_key(message, keys)
    prefix = _with_length(request_mac) if request_mac else b""
    return _check(tsig, key, now, prefix, message, by_timers=False)


class StreamSigner:
    """Signs the messages of one reply, such as a transfer (RFC 8945 §5.3.1), all of them. A `query.Signature`."""

    __slots__ = ("_is_first", "_key", "_mac")

    def __init__(self, key: TsigKey, request_mac: bytes) -> None:
        self._key = key
        self._mac = request_mac
        self._is_first = True

    def __repr__(self) -> str:
        return f"<StreamSigner {self._key}>"

    @property
    def key_name(self) -> bytes:
        """The name of the key, in lower case."""
        return self._key.name

    @property
    def size(self) -> int:
        """How many bytes the record has that is added to a message."""
        name, algorithm = self._key.name, self._key.algorithm
        mac_bytes = hashlib.new(ALGORITHMS[algorithm]).digest_size
        return len(name) + _RECORD.size + len(algorithm) + 2 + _TIMES.size + 2 + mac_bytes + 6

    def sign(self, message: bytes, now: int) -> bytes:
        """Return the next message with its signature."""
        key = self._key
        if self._is_first:
            self._is_first = False
            signed, self._mac = sign(message, key, now, request_mac=self._mac)
            return signed
        self._mac = _mac(key, _with_length(self._mac), message, _timers(now, FUDGE_S))
        return _attach(message, key.name, _name_of(key), now, self._mac, 0, b"")


class StreamVerifier:
    """Verifies the messages of one reply; only the first and the last must be signed, and every hundredth."""

    __slots__ = ("_digested", "_is_first", "_key", "_unsigned")

    def __init__(self, key: TsigKey, request_mac: bytes) -> None:
        self._key = key
        self._is_first = True
        # of what comes before the next signature
        self._digested = _with_length(request_mac)
        self._unsigned = 0

    def __repr__(self) -> str:
        return f"<StreamVerifier {self._key} {self._unsigned} unsigned>"

    def take(self, message: bytes, now: int) -> bytes:
        """Return the next message without its signature. Not to be used before `end`. Raises: ValueError, TsigError."""
        if not self._is_first and find(message) is None:
            self._unsigned += 1
            if self._unsigned > MAX_UNSIGNED:
                raise TsigError(f"more than {MAX_UNSIGNED} messages in a row are not signed")
            self._digested += message
            return message
        tsig, key = _record_and_key(message, {self._key.name: self._key})
        _check(tsig, key, now, self._digested, message, by_timers=not self._is_first)
        self._is_first, self._unsigned, self._digested = False, 0, _with_length(tsig.mac)
        return tsig.message(message)

    def end(self) -> None:
        """Check that the last message was signed. Raises: TsigError."""
        if self._is_first or self._unsigned:
            raise TsigError("the last message is not signed")


def find(message: bytes) -> Tsig | None:
    """Return the TSIG record of a message; None if it has none. Raises: ValueError for what is no message."""
    start = _last_record(message)
    if start is None:
        return None
    try:
        name, end = read_name(message, start)
        _, rclass, ttl, length = _RECORD.unpack_from(message, end)
        algorithm, position = read_name(message, end + _RECORD.size)
        high, low, fudge = _TIMES.unpack_from(message, position)
        mac, position = _counted(message, position + _TIMES.size)
        original_id, code = (
            message[position : position + 2],
            int.from_bytes(message[position + 2 : position + 4], "big"),
        )
        other, position = _counted(message, position + 4)
    except (IndexError, error):
        raise ValueError("malformed TSIG record") from None
    if rclass != codes.CLASS_ANY or ttl or position != len(message) or end + _RECORD.size + length != position:
        raise ValueError("malformed TSIG record")
    return Tsig(start, name.lower(), algorithm.lower(), high << 32 | low, fudge, mac, original_id, code, other)


def _last_record(message: bytes) -> int | None:
    """Return where the TSIG record starts, which must be the last one of the additional section."""
    if len(message) < HEADER_BYTES:
        raise ValueError("the message is shorter than a header")
    questions, *counts = (int.from_bytes(message[at : at + 2], "big") for at in (4, 6, 8, 10))
    position = HEADER_BYTES
    for _ in range(questions):
        end = name_end(message, position)
        if end is None or end + 4 > len(message):
            raise ValueError("malformed question")
        position = end + 4
    total = sum(counts)
    for number in range(1, total + 1):
        start, end = position, record_name_end(message, position)
        if end is None or end + _RECORD.size > len(message):
            raise ValueError("malformed record")
        rtype, _, _, length = _RECORD.unpack_from(message, end)
        position = end + _RECORD.size + length
        if rtype == TSIG:
            if number < total or not counts[2]:
                raise ValueError("the TSIG record is not the last one")
            return start
    return None


def _counted(message: bytes, position: int) -> tuple[bytes, int]:
    """Return bytes after their length, and the position after them."""
    start = position + 2
    end = start + int.from_bytes(message[position:start], "big")
    if start > len(message) or end > len(message):
        raise IndexError
    return message[start:end], end


def _record_and_key(message: bytes, keys: Mapping[bytes, TsigKey]) -> tuple[Tsig, TsigKey]:
    tsig = find(message)
    if tsig is None:
        raise TsigError("it is not signed")
    if tsig.error in (BADSIG, BADKEY) and not tsig.mac:
        raise TsigError(f"it says {ERROR_NAMES[tsig.error]}", tsig.error, tsig, is_told=True)
    key = keys.get(tsig.name)
    if key is None or tsig.algorithm != _name_of(key):
        raise TsigError("it is signed by another key", BADKEY, tsig)
    return tsig, key


def _check(tsig: Tsig, key: TsigKey, now: int, prefix: bytes, message: bytes, *, by_timers: bool) -> Tsig:
    """Check the MAC, then the time. `by_timers`: the record follows another one of its stream."""
    if by_timers:
        variables = _timers(tsig.time_s, tsig.fudge_s)
    else:
        variables = _variables(tsig.name, tsig.algorithm, tsig.time_s, tsig.fudge_s, tsig.error, tsig.other)
    mac = _mac(key, prefix, tsig.message(message), variables)
    if len(tsig.mac) > len(mac) or len(tsig.mac) < max(MIN_MAC_BYTES, len(mac) // 2):
        raise ValueError(f"a MAC of {len(tsig.mac)} bytes")
    if not hmac.compare_digest(mac[: len(tsig.mac)], tsig.mac):
        raise TsigError("its signature is wrong", BADSIG, tsig)
    if abs(now - tsig.time_s) > tsig.fudge_s:
        raise TsigError(f"it was signed {abs(now - tsig.time_s)} s ago or ahead", BADTIME, tsig)
    if len(tsig.mac) < len(mac):
        raise TsigError("its signature is cut short", BADTRUNC, tsig)
    if tsig.error:
        raise TsigError(f"it says {error_name(tsig.error)}", tsig.error, tsig, is_told=True)
    return tsig


def error_name(number: int) -> str:
    """Return the name of an error: `BADKEY`, or `ERROR23` for one that is not in `ERROR_NAMES`."""
    return ERROR_NAMES.get(number) or f"ERROR{number}"


def _attach(message: bytes, name: bytes, algorithm: bytes, time_s: int, mac: bytes, code: int, other: bytes) -> bytes:
    """Return the message with a TSIG record at its end."""
    count = int.from_bytes(message[10:12], "big") + 1
    data = b"".join(
        (algorithm, _timers(time_s, FUDGE_S), _with_length(mac), message[:2], pack("!H", code), _with_length(other))
    )
    record = name + _RECORD.pack(TSIG, codes.CLASS_ANY, 0, len(data)) + data
    return message[:10] + count.to_bytes(2, "big") + message[HEADER_BYTES:] + record


def _variables(name: bytes, algorithm: bytes, time_s: int, fudge_s: int, code: int, other: bytes) -> bytes:
    """Return what is signed of the record itself (RFC 8945 §4.3.3)."""
    head = name + pack("!HI", codes.CLASS_ANY, 0) + algorithm
    return head + _timers(time_s, fudge_s) + pack("!H", code) + _with_length(other)


def _timers(time_s: int, fudge_s: int) -> bytes:
    return _TIMES.pack(time_s >> 32, time_s & 0xFFFFFFFF, fudge_s)


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _mac(key: TsigKey, *parts: bytes) -> bytes:
    return hmac.digest(key.secret, b"".join(parts), ALGORITHMS[key.algorithm])


def _name_of(key: TsigKey) -> bytes:
    """Return the name of the key's algorithm as it is sent."""
    return bytes((len(key.algorithm),)) + key.algorithm.encode() + b"\0"
