"""PROXY protocol headers, versions 1 and 2 (HAProxy's proxy-protocol.txt)."""

from __future__ import annotations

import pytest

from npserver.net.proxy_protocol import (
    MAX_V2_BYTES,
    SIGNATURE,
    Endpoint,
    ProxyHeader,
    ProxyHeaderError,
    encode_v1,
    encode_v2,
    parse_datagram,
    parse_header,
)

V4 = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02") + b"\x12\x67\x01\xbb"
MAPPED = bytes.fromhex("00" * 10 + "ffffc0000201" + "00" * 10 + "ffffc6336402") + b"\x12\x67\x01\xbb"
PAIR = ("192.0.2.1", 4711), ("198.51.100.2", 443)
PAIR6 = ("2001:db8::1", 4711), ("2001:db8::2", 443)


def v2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + payload


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


ACCEPTED: list[tuple[bytes, tuple[Endpoint, Endpoint] | None]] = [
    # §2.1
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", PAIR),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", PAIR6),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 4711 443\r\n", PAIR),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", (("0.0.0.0", 0), ("255.255.255.255", 65535))),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    # §2.2
    (v2(0x21, 0x11, V4), PAIR),
    (v2(0x21, 0x21, V6), PAIR6),
    (v2(0x21, 0x21, MAPPED), PAIR),
    (v2(0x21, 0x12, V4), PAIR),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4), None),  # LOCAL: "the receiver must use the real connection endpoints"
    (v2(0x20, 0x00, b"whatever"), None),
    (v2(0x21, 0x00, b""), None),  # AF_UNSPEC
    (v2(0x21, 0x10, V4), None),  # UNSPEC protocol
    (v2(0x21, 0x31, b"/one".ljust(108, b"\0") + b"/two".ljust(108, b"\0")), None),
    # §2.2.1 to 2.2.7: TLVs are skipped
    (v2(0x21, 0x11, V4 + tlv(1, b"h2") + tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")) + tlv(4, b"")), PAIR),
]


@pytest.mark.parametrize(("wire", "endpoints"), ACCEPTED)
def test_headers_are_read(wire: bytes, endpoints: tuple[Endpoint, Endpoint] | None) -> None:
    source, destination = endpoints or (None, None)
    expected = ProxyHeader(len(wire), source, destination, is_datagram=wire[13:14] == b"\x12")
    assert parse_header(wire) == expected
    assert parse_header(wire + b"GET / HTTP/1.1\r\n") == expected
    assert [parse_header(wire[:end]) for end in range(len(wire))] == [None] * len(wire)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXX",
        b"proxy TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY\tTCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.256 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 04711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2\r4711 443\r\n",
        b"PROXY TCP4 192.0.2.\xb1 198.51.100.2 4711 443\r\n",
        b"PROXY UNKNOWN " + b"x" * 107,
        b"PROXY " + b"x" * 200,
        v2(0x11, 0x11, V4),  # version 1
        v2(0x22, 0x11, V4),  # no such command
        v2(0x21, 0x41, V4),  # no such family
        v2(0x21, 0x13, V4),  # no such protocol
        v2(0x21, 0x11, V4[:-1]),
        v2(0x21, 0x21, V6[:-1]),
        v2(0x21, 0x11, V4 + b"\x01"),
        v2(0x21, 0x11, V4 + b"\x01\x00\x09short"),
        v2(0x21, 0x11, V4, length=MAX_V2_BYTES),
        v2(0x21, 0x11, V4, length=0xFFFF),
    ],
)
def test_malformed_headers_are_refused(wire: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_header(wire)


class TestWriting:
    """Headers sent to targets."""

    @pytest.mark.parametrize(
        ("source", "destination", "line"),
        [
            (*PAIR, b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"),
            (*PAIR6, b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n"),
            (("::ffff:192.0.2.1", 4711), PAIR[1], b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"),
            (PAIR[0], PAIR6[1], b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 4711 443\r\n"),
            (("fe80::1%eth0", 1), ("fe80::2", 2), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
            (None, None, b"PROXY UNKNOWN\r\n"),
            (("", 0), PAIR[1], b"PROXY UNKNOWN\r\n"),
            (("/tmp/sock", 0), PAIR[1], b"PROXY UNKNOWN\r\n"),
        ],
    )
    def test_version_1_is_written(self, source: Endpoint | None, destination: Endpoint | None, line: bytes) -> None:
        assert encode_v1(source, destination).replace(b"::ffff:c000:201", b"::ffff:192.0.2.1") == line

    @pytest.mark.parametrize(
        ("source", "destination", "datagram", "wire"),
        [
            (*PAIR, False, v2(0x21, 0x11, V4)),
            (*PAIR, True, v2(0x21, 0x12, V4)),
            (*PAIR6, False, v2(0x21, 0x21, V6)),
            (*PAIR6, True, v2(0x21, 0x22, V6)),
            (None, None, False, v2(0x21, 0x00, b"")),
        ],
    )
    def test_version_2_is_written(
        self, source: Endpoint | None, destination: Endpoint | None, datagram: bool, wire: bytes
    ) -> None:
        assert encode_v2(source, destination, datagram=datagram) == wire


class TestDatagrams:
    """§2.2: in version 2 a datagram's header stands before its payload."""

    def test_a_header_is_split_off_a_datagram(self) -> None:
        assert parse_datagram(v2(0x21, 0x12, V4) + b"payload") == (PAIR[0], b"payload")

    def test_a_local_header_names_nobody(self) -> None:
        assert parse_datagram(v2(0x20, 0, b"") + b"check") == (None, b"check")

    def test_an_empty_payload_is_one(self) -> None:
        assert parse_datagram(v2(0x21, 0x12, V4)) == (PAIR[0], b"")

    @pytest.mark.parametrize(
        "data",
        [b"", b"payload", b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", v2(0x21, 0x12, V4)[:-1], v2(0x21, 0x11, V4)],
    )
    def test_no_header_of_a_datagram(self, data: bytes) -> None:
        assert parse_datagram(data) is None
