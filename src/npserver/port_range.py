"""Ranges of ports in addresses: `udp://:49152-49172` stands for 21 addresses, one for each port.

Pure; used by the compilers of listeners and of forwards.
"""

from __future__ import annotations

import re

from msgspec import Struct

from npserver.address import BYTES, DATAGRAMS, SCHEMES
from npserver.errors import clip
from npserver.regex import regex

MAX_PORTS = 4096  # of one range: each is a socket in every worker
#: Those that can be listened on and forwarded to, with a port.
_SCHEMES = tuple(
    name
    for name, scheme in SCHEMES.items()
    if not {BYTES, DATAGRAMS}.isdisjoint(scheme.serves & scheme.reaches) and not scheme.is_unix
)
_RANGE = regex(r"([a-z]+)(://(?:[^/:\[\]]*|\[[^/\[\]]*\]):)([0-9]{1,9})-([0-9]{1,9})/?", re.IGNORECASE)


class PortRange(Struct, frozen=True):
    """The ports of an address."""

    before: str  # what stands before the port: "udp://10.0.0.5:"
    first: int
    count: int

    def __str__(self) -> str:
        return f"{self.before}{self.first}-{self.first + self.count - 1}"

    def uri(self, offset: int) -> str:
        """Return the address with one of the ports, by its place in the range."""
        return f"{self.before}{self.first + offset}"


def port_range(uri: str) -> PortRange | None:
    """Return the range of an address; None for one that has none, right or wrong otherwise.

    Raises: ValueError, with a message that says what is wrong with the range.
    """
    match = _RANGE.fullmatch(uri)
    if match is None:
        return None
    scheme, first, last = match[1].lower(), int(match[3]), int(match[4])
    if scheme not in _SCHEMES:
        raise ValueError(f"a range of ports is for {', '.join(_SCHEMES)}, got {clip(uri)}: write one address for each")
    if not 0 < first <= 65535 or last > 65535:
        raise ValueError(f"expected ports from 1 to 65535, got {clip(uri)}")
    if last < first:
        raise ValueError(f"the last port of a range is before the first: {clip(uri)}")
    if last - first >= MAX_PORTS:
        raise ValueError(f"more than {MAX_PORTS} ports: {clip(uri)}; write several ranges")
    return PortRange(f"{scheme}{match[2]}", first, last - first + 1)


def first_of(uri: str) -> str:
    """Return an address with the first port of its range; one without a range, or a wrong one, as it is."""
    try:
        ports = port_range(uri)
    except ValueError:
        return uri
    return uri if ports is None else ports.uri(0)
