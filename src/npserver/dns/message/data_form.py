"""Whether the data of a record has the form of its type: what other servers send is served as it is. Pure.

Checked are the types that this program looks into, when it answers from them or compresses names in them. Of others it
copies the bytes (RFC 3597).
"""

from __future__ import annotations

from npserver.dns.message import codes
from npserver.dns.message.query import name_end

_SIZES = {codes.A: 4, codes.AAAA: 16}
#: Bytes before the names in the data, the number of names, and of the bytes after them; None if there may be any.
_NAMES: dict[int, tuple[int, int, int | None]] = {
    codes.NS: (0, 1, 0),
    codes.CNAME: (0, 1, 0),
    codes.PTR: (0, 1, 0),
    codes.DNAME: (0, 1, 0),
    codes.MX: (2, 1, 0),
    codes.SRV: (6, 1, 0),
    codes.SOA: (0, 2, 20),
    codes.SVCB: (2, 1, None),
    codes.HTTPS: (2, 1, None),
}
#: OPT, and those that are only asked for, or stand for a whole message (RFC 6895 §3.1).
_META = frozenset({0, codes.OPT, *range(128, 256)})


def has_form(rtype: int, data: bytes) -> bool:
    """Whether data can be that of a record of a zone. The names in it are whole."""
    if rtype in _META:
        return False
    size = _SIZES.get(rtype)
    if size is not None:
        return len(data) == size
    if rtype == codes.TXT:
        return _are_strings(data)
    form = _NAMES.get(rtype)
    if form is None:
        return True
    before, count, after = form
    position = before
    for _ in range(count):
        end = name_end(data, position)
        if end is None:
            return False
        position = end
    return after is None or len(data) - position == after


def _are_strings(data: bytes) -> bool:
    position = 0
    while position < len(data):
        position += 1 + data[position]
    return position == len(data) > 0
