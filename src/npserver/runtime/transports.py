"""Write several pieces at once to an asyncio transport, on every Python.

The standard loop's `writelines` has faults, from Python 3.12 on, where it has a method of its own:

- 3.12.0 to 3.12.8, 3.13.0 and 3.13.1: it never pauses the protocol (CVE-2024-12254). A client that reads nothing would
  be sent everything, into memory.
- 3.12, 3.13.0 to 3.13.9 and 3.14.0: after the connection is lost it makes the loop watch the descriptor (CPython
  gh-136234). The next connection with that number would not be served.

There the pieces are joined.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

_MENDED = {(3, 13): 10, (3, 14): 1}  # the first release without these faults


def has_faults(version: Sequence[int]) -> bool:
    """Return whether `writelines` of this version of Python has one of these faults."""
    major, minor, micro = version[:3]
    return (major, minor) == (3, 12) or micro < _MENDED.get((major, minor), 0)


def _write_joined(transport: asyncio.WriteTransport, pieces: Sequence[bytes]) -> None:
    transport.write(b"".join(pieces))


def _write_lines(transport: asyncio.WriteTransport, pieces: Sequence[bytes]) -> None:
    transport.writelines(pieces)


write_pieces = _write_joined if has_faults(sys.version_info[:3]) else _write_lines
