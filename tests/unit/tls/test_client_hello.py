"""Reading a ClientHello without ending TLS (RFC 8446 §4.1.2, §5.1; RFC 6066 §3; RFC 7301 §3.1)."""

from __future__ import annotations

import ssl

import pytest

from npserver.tls.client_hello import (
    MAX_HELLO_BYTES,
    POSTGRES_GSS_REQUEST,
    POSTGRES_SSL_REQUEST,
    ClientHello,
    HelloError,
    HelloReader,
    is_postgres_request,
    offered_protocols,
    quick_server_name,
)


def real_hello(name: str | None = None, protocols: list[str] | None = None, *, max_tls12: bool = False) -> bytes:
    """Return the ClientHello that OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    if max_tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def name_extension(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes((kind,)) + vector(2, name)))


def made_hello(extensions: bytes | None = b"", *, message: int = 1) -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return records(bytes((message,)) + vector(3, body))


def records(message: bytes, size: int = 1 << 14) -> bytes:
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, part) for part in parts)


@pytest.mark.parametrize(
    ("wire", "protocols"),
    [
        (real_hello("app.example", ["h2", "http/1.1"]), ("h2", "http/1.1")),
        (real_hello("app.example"), ()),
        (made_hello(extension(16, vector(2, vector(1, b"acme-tls/1")))), ("acme-tls/1",)),
        (made_hello(extension(16, vector(2, b""))), ()),
        (made_hello(extension(16, vector(2, vector(1, b"")))), ()),  # not a ClientHello, RFC 7301 §3.1
        (real_hello("app.example", ["h2"])[:-1], ()),
        (b"\x16\0\x10", ()),
    ],
)
def test_the_protocols_of_a_complete_hello_are_found(wire: bytes, protocols: tuple[str, ...]) -> None:
    assert offered_protocols(wire) == protocols


def read(wire: bytes) -> ClientHello | None:
    return HelloReader().feed(wire)


@pytest.mark.parametrize(
    ("wire", "hello"),
    [
        (real_hello("www.example.com"), ClientHello("www.example.com")),
        (real_hello("www.example.com", max_tls12=True), ClientHello("www.example.com")),
        (real_hello("app.example", ["h2", "http/1.1"]), ClientHello("app.example", ("h2", "http/1.1"))),
        (real_hello(), ClientHello()),
        (real_hello("192.0.2.1"), ClientHello()),  # RFC 6066 §3: addresses are no server names
        (made_hello(None), ClientHello()),  # RFC 5246 §7.4.1.2: no extensions at all
        (made_hello(name_extension(b"WWW.Example.COM.")), ClientHello("www.example.com")),
        (made_hello(name_extension(b"x", kind=7)), ClientHello()),
        (made_hello(extension(0x0A0A, b"") + name_extension(b"a.b")), ClientHello("a.b")),  # GREASE, RFC 8701
        # a name that no host can have is none
        (made_hello(name_extension(b"")), ClientHello()),
        (made_hello(name_extension(b"a b")), ClientHello()),
        (made_hello(name_extension(b"a\0b")), ClientHello()),
        (made_hello(name_extension(b"\xc3\xa4.example")), ClientHello()),
        (made_hello(name_extension(b"a\xa9example")), ClientHello()),
        (made_hello(name_extension(b"a." * 200)), ClientHello()),
    ],
)
class TestHello:
    """A ClientHello whole, in pieces, in several records."""

    def test_a_whole_hello_is_read(self, wire: bytes, hello: ClientHello) -> None:
        assert read(wire) == hello

    def test_the_quick_way_finds_the_same_name(self, wire: bytes, hello: ClientHello) -> None:
        assert quick_server_name(wire) == hello.server_name
        for end in range(len(wire)):
            assert quick_server_name(wire[:end]) is None

    def test_a_hello_byte_by_byte_is_read(self, wire: bytes, hello: ClientHello) -> None:
        reader = HelloReader()
        found = [reader.feed(wire[at : at + 1]) for at in range(len(wire))]
        assert found == [None] * (len(wire) - 1) + [hello]
        assert reader.data == wire

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 50])
    def test_a_hello_in_several_records_is_read(self, wire: bytes, hello: ClientHello, size: int) -> None:
        """RFC 8446 §5.1: a message may be spread over several records."""
        assert read(records(wire[5:], size)) == hello

    def test_bytes_behind_a_hello_are_left(self, wire: bytes, hello: ClientHello) -> None:
        reader = HelloReader()
        assert reader.feed(wire + b"\x14\x03\x03\0\x01\x01more") == hello
        assert reader.data == wire + b"\x14\x03\x03\0\x01\x01more"


def test_a_hello_of_60_kib_is_read() -> None:
    assert read(made_hello(name_extension(b"a.b") + extension(21, bytes(60_000)))) == ClientHello("a.b")


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01",
        b"\x16\x02\x00",
        b"\x80\x2e\x01\x03\x01",  # SSL 2.0's hello
        b"\x16\x03\x01\x00\x00",  # RFC 8446 §5.1: no empty fragments
        b"\x16\x03\x01\x40\x01",
        made_hello(message=2),
        made_hello(name_extension(b"a.b") + name_extension(b"c.d")),  # RFC 8446 §4.2
        made_hello(extension(0, b"\0\x09\0\0\x03a.b")),
        made_hello(extension(16, vector(2, vector(1, b"")))),
        made_hello(extension(16, b"\0\x05\x04h")),
        made_hello(b"\0\0\0"),
        records(b"\x01" + vector(3, b"\x03\x03" + bytes(31))),
        records(b"\x01" + vector(3, b"")),
        b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO_BYTES).to_bytes(3, "big"),
        records(b"\x01" + vector(3, bytes(MAX_HELLO_BYTES - 4)), 1),
    ],
)
def test_what_is_no_hello_is_refused(wire: bytes) -> None:
    with pytest.raises(HelloError):
        read(wire)
    assert quick_server_name(wire) in (None, "", "a.b")  # OpenSSL sees the rest


class TestPostgres:
    """PostgreSQL, "Message Formats": SSLRequest and GSSENCRequest."""

    @pytest.mark.parametrize("end", range(8))
    def test_an_unfinished_request_needs_more(self, end: int) -> None:
        assert is_postgres_request(POSTGRES_SSL_REQUEST[:end]) is None

    def test_a_request_for_tls_is_found(self) -> None:
        assert is_postgres_request(POSTGRES_SSL_REQUEST) is True
        assert is_postgres_request(POSTGRES_SSL_REQUEST + b"more") is True
        assert is_postgres_request(POSTGRES_GSS_REQUEST, POSTGRES_GSS_REQUEST) is True

    @pytest.mark.parametrize("data", [b"\x16", b"GET /", POSTGRES_GSS_REQUEST, POSTGRES_SSL_REQUEST[:-1] + b"\0"])
    def test_something_else_is_no_request_for_tls(self, data: bytes) -> None:
        assert is_postgres_request(data) is False
