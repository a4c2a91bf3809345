"""Padding of answers over encrypted transports, so that their length says little (RFC 7830, RFC 8467). Pure.

Used by `nameserver.stream_front`, for clients that ask for it by a padding option in their query.
"""

from __future__ import annotations

from npserver.dns.message.codes import OPT
from npserver.dns.message.edns import PADDING_OPTION, make_option
from npserver.dns.message.header import HEADER_BYTES, MAX_MESSAGE_BYTES
from npserver.dns.message.query import name_end, record_name_end

BLOCK_BYTES = 468  # answers are multiples of it (RFC 8467 §4.1)


def option_codes(data: bytes) -> list[int]:
    """Return the codes of the EDNS options in a message; none if the message is malformed."""
    found = _find_opt(data)
    if found is None:
        return []
    position, end = found
    options = []
    while position + 4 <= end:
        options.append(int.from_bytes(data[position : position + 2], "big"))
        position += 4 + int.from_bytes(data[position + 2 : position + 4], "big")
    return options


def wants_padding(query: bytes) -> bool:
    """Return whether a query asks for an answer with padding."""
    return PADDING_OPTION in option_codes(query)


def pad(reply: bytes) -> bytes:
    """Return a reply padded to a multiple of `BLOCK_BYTES`, if its last record is OPT and it does not get too long."""
    return with_options(reply, make_option(PADDING_OPTION, bytes(-(len(reply) + 4) % BLOCK_BYTES)))


def with_options(reply: bytes, options: bytes) -> bytes:
    """Return a reply with further options, if its last record is OPT and it does not get too long."""
    found = _find_opt(reply)
    if found is None or found[1] != len(reply) or len(reply) + len(options) > MAX_MESSAGE_BYTES:
        return reply
    start = found[0]
    whole = reply[start:] + options
    return reply[: start - 2] + len(whole).to_bytes(2, "big") + whole


def _find_opt(data: bytes) -> tuple[int, int] | None:
    """Return where the options of a message begin and end; None if it has no OPT record, or is malformed."""
    if len(data) < HEADER_BYTES or not any(data[10:HEADER_BYTES]):
        return None
    questions, *counts = [int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 8, 10)]
    end = name_end(data, HEADER_BYTES) if questions == 1 else None
    if end is None:
        return None
    position = end + 4
    for _ in range(sum(counts)):
        end = record_name_end(data, position)
        if end is None or end + 10 > len(data):
            return None
        start = end + 10
        position = start + (data[end + 8] << 8 | data[end + 9])
        if position > len(data):
            return None
        if data[end + 1] == OPT and not data[end]:
            return start, position
    return None
