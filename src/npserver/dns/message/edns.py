"""EDNS(0): the OPT pseudo-record of queries and replies (RFC 6891 §6.1).

Layout: root name (1 byte), type 41 (2), the sender's UDP size (2), extended rcode (1), version (1), flags (2; the
highest bit is DO), length (2), then options, each code (2), length (2), data.
"""

from __future__ import annotations

from struct import Struct

from npserver.dns.message.codes import OPT

#: Size of the largest UDP reply sent and received: fits every path unfragmented (RFC 9715 §3, DNS flag day 2020).
MAX_UDP_BYTES = 1232
MAX_PLAIN_UDP_BYTES = 512  # of a UDP reply to a query without EDNS (RFC 1035 §4.2.1)
COOKIE_OPTION = 10  # RFC 7873 §4
SUBNET_OPTION = 8  # RFC 7871 §6
NSID_OPTION = 3  # RFC 5001 §2.3
KEEPALIVE_OPTION = 11  # edns-tcp-keepalive, RFC 7828 §3.1
PADDING_OPTION = 12  # RFC 7830
ERROR_OPTION = 15  # extended DNS errors, RFC 8914 §2
DO = 0x8000

_FIXED = Struct("!BHHBBHH")
_OPTION = Struct("!HH")

#: OPT records for replies, without options, by DO, which is copied from the query (RFC 3225 §3).
OPT_REPLIES = (_FIXED.pack(0, OPT, MAX_UDP_BYTES, 0, 0, 0, 0), _FIXED.pack(0, OPT, MAX_UDP_BYTES, 0, 0, DO, 0))
OPT_BADVERS = _FIXED.pack(
    0, OPT, MAX_UDP_BYTES, 1, 0, 0, 0
)  # rcode 16: its upper bits, here, are 1, its lower bits, in the header, 0

#: What the options of a query ask for, as bits; a keepalive with data is wrong over streams (RFC 7828 §3.2.1).
ASKS_NSID, ASKS_KEEPALIVE, WRONG_KEEPALIVE = 1, 2, 4

#: The OPT of a query: size of the largest UDP reply in bytes, DO (0 or 1), version, data of the cookie option or None,
#: and what its other options ask for.
Edns = tuple[int, int, int, bytes | None, int]


def parse_opt(record: bytes) -> Edns | None:
    """Parse the end of a query that should be exactly one OPT record; None if it is anything else."""
    if len(record) < 11:
        return None
    root, rtype, size, _, version, flags, length = _FIXED.unpack_from(record)
    if root or rtype != OPT or length != len(record) - 11:
        return None
    cookie, asked = None, 0
    position = 11
    end = len(record)
    while position < end:
        if position + 4 > end:
            return None
        code, length = _OPTION.unpack_from(record, position)
        position += 4 + length
        if code == COOKIE_OPTION and cookie is None:
            cookie = record[position - length : position]
        elif code == NSID_OPTION:
            asked |= ASKS_NSID
        elif code == KEEPALIVE_OPTION:
            asked |= WRONG_KEEPALIVE if length else ASKS_KEEPALIVE
    if position > end:
        return None
    limit = MAX_PLAIN_UDP_BYTES if size < MAX_PLAIN_UDP_BYTES else min(size, MAX_UDP_BYTES)
    return limit, flags >> 15, version, cookie, asked


def make_opt(do: int, options: bytes) -> bytes:
    """Return the OPT record of a message with these options. `do`: 0 or 1; `options`: in wire form."""
    return _FIXED.pack(0, OPT, MAX_UDP_BYTES, 0, 0, do << 15, len(options)) + options


def make_option(code: int, data: bytes) -> bytes:
    """Return an option in wire form."""
    return _OPTION.pack(code, len(data)) + data


def extended_error(code: int, text: str = "") -> bytes:
    """Return an option that says why an answer is as it is (RFC 8914 §2); `text` is for people."""
    return make_option(ERROR_OPTION, code.to_bytes(2, "big") + text.encode())


def add_option(opt: bytes, option: bytes) -> bytes:
    """Return an OPT record with one more option, in wire form."""
    length = len(opt) - _FIXED.size + len(option)
    return opt[: _FIXED.size - 2] + length.to_bytes(2, "big") + opt[_FIXED.size :] + option


def select_options(options: bytes, codes: frozenset[int]) -> bytes:
    """Return those of the options, in wire form, that have these codes. Malformed ones end the list."""
    found = b""
    position = 0
    while position + 4 <= len(options):
        code, length = _OPTION.unpack_from(options, position)
        end = position + 4 + length
        if end > len(options):
            break
        if code in codes:
            found += options[position:end]
        position = end
    return found


def opt_with_cookie(do: int, cookie: bytes) -> bytes:
    """Return the OPT record of a reply with a cookie option. `do`: 0 or 1; `cookie`: the option's data."""
    return (
        _FIXED.pack(0, OPT, MAX_UDP_BYTES, 0, 0, do << 15, 4 + len(cookie))
        + _OPTION.pack(COOKIE_OPTION, len(cookie))
        + cookie
    )
