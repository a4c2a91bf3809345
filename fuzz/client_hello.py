"""Fuzzes the ClientHello reader: `make fuzz ARGS="client_hello --seconds 60"`.

Oracle: bytes are refused with `HelloError`, awaited, or read; in pieces as in one; a name that is read is a lower-case
host name; all bytes fed are there to be passed on.
"""

from __future__ import annotations

import ssl

from fuzz.driver import run
from npserver.tls.client_hello import ClientHello, HelloError, HelloReader


def hello(name: str | None, *protocols: str) -> bytes:
    """Return the ClientHello that OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def fragmented(wire: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes."""
    parts = [wire[start : start + size] for start in range(5, len(wire), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


SEEDS = [
    hello("www.example.com"),
    hello("a.example", "h2", "http/1.1"),
    hello(None),
    fragmented(hello("b.example"), 40),
]


def target(data: bytes) -> None:
    """One input."""
    whole = outcome([data])
    halves = outcome([data[: len(data) // 2], data[len(data) // 2 :]])
    bytewise = outcome([data[at : at + 1] for at in range(len(data))])
    assert whole == halves == bytewise
    if isinstance(whole, ClientHello):
        assert whole.server_name == whole.server_name.lower()
        assert " " not in whole.server_name


def outcome(pieces: list[bytes]) -> ClientHello | str | None:
    """The hello, "refused", or None when more is awaited."""
    reader = HelloReader()
    fed = b""
    for piece in pieces:
        fed += piece
        try:
            found = reader.feed(piece)
        except HelloError:
            return "refused"
        assert reader.data == fed
        if found is not None:
            return found
    return None


if __name__ == "__main__":
    run(target, SEEDS)
