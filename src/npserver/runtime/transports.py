"""Write several pieces at once to an asyncio transport, with backpressure on every Python.

The standard loop's `writelines` of 3.12.0 to 3.12.8, 3.13.0 and 3.13.1 never pauses the protocol (CVE-2024-12254): a
client that reads nothing would be sent everything, into memory. There the pieces are joined.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

_MENDED = {(3, 12): 9, (3, 13): 2}  # the first release whose `writelines` pauses


def is_unbounded(version: Sequence[int]) -> bool:
    """Return whether `writelines` of this version of Python writes without bound."""
    major, minor, micro = version[:3]
    return micro < _MENDED.get((major, minor), 0)


def _write_joined(transport: asyncio.WriteTransport, pieces: Sequence[bytes]) -> None:
    transport.write(b"".join(pieces))


def _write_lines(transport: asyncio.WriteTransport, pieces: Sequence[bytes]) -> None:
    transport.writelines(pieces)


write_pieces = _write_joined if is_unbounded(sys.version_info[:3]) else _write_lines
