"""Fuzzes the PROXY protocol's parser: `make fuzz ARGS="proxy_protocol --seconds 60"`.

Oracle: bytes are refused with `ProxyHeaderError`, awaited, or read; byte by byte as in one piece; what was read and
written again reads the same.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.net.proxy_protocol import (
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderError,
    encode_v1,
    encode_v2,
    parse_datagram,
    parse_header,
)

SEEDS = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 4711 443\r\n",
    b"PROXY UNKNOWN\r\n",
    encode_v2(("192.0.2.1", 1), ("192.0.2.2", 2)) + b"\x16\x03\x01",
    encode_v2(("2001:db8::1", 1), ("192.0.2.2", 2), datagram=True) + b"payload",
    SIGNATURE + b"\x20\x00\x00\x00",
    SIGNATURE + b"\x21\x11\x00\x16" + bytes(12) + b"\x01\x00\x02h2" + b"\x04\x00\x02\x00\x00",
]


def target(data: bytes) -> None:
    """One input."""
    whole = outcome(data)
    pieces: ProxyHeader | str | None = None
    for end in range(1, len(data) + 1):
        if (pieces := outcome(data[:end])) is not None:
            break
    assert isinstance(whole, ProxyHeader) == isinstance(pieces, ProxyHeader)
    if isinstance(whole, ProxyHeader):
        assert whole == pieces
        assert whole.size <= len(data)
        if whole.source is not None:
            again = parse_header(encode_v1(whole.source, whole.destination))
            assert again is not None and (again.source, again.destination) == (whole.source, whole.destination)
    if (parsed := parse_datagram(data)) is not None:
        assert data.endswith(parsed[1])


def outcome(data: bytes) -> ProxyHeader | str | None:
    """The header, "refused", or None when more is awaited."""
    try:
        return parse_header(data)
    except ProxyHeaderError:
        return "refused"


if __name__ == "__main__":
    run(target, SEEDS)
