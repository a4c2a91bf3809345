"""The beginnings of QUIC packets, and those that are sent without a connection; aioquic reads and writes the same."""

from __future__ import annotations

from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import (
    QuicPacketType,
    encode_long_header_first_byte,
    get_retry_integrity_tag,
    pull_quic_header,
)

from npserver.listen.quic import packets
from npserver.listen.quic.packets import INITIAL, LongHeader, parse_long_header, read_varint


def initial(destination: bytes = b"12345678", source: bytes = b"abc", token: bytes = b"", version: int = 1) -> bytes:
    first = encode_long_header_first_byte(1, QuicPacketType.INITIAL, 0)
    head = bytes((first,)) + version.to_bytes(4, "big")
    ids = bytes((len(destination),)) + destination + bytes((len(source),)) + source
    return head + ids + bytes((len(token),)) + token + b"\x44\xb0" + bytes(1200)


def test_an_initial_packet() -> None:
    assert parse_long_header(initial(token=b"tok")) == LongHeader(1, INITIAL, b"12345678", b"abc", b"tok")
    assert parse_long_header(initial(source=b"")) == LongHeader(1, INITIAL, b"12345678", b"")


def test_ids_of_other_versions_may_be_long() -> None:
    found = parse_long_header(initial(b"x" * 200, b"y" * 255, version=0xFF))
    assert found is not None and (len(found.destination), len(found.source)) == (200, 255)
    assert parse_long_header(initial(b"x" * 21)) is None


def test_nothing_is_read_past_the_end() -> None:
    whole = initial(token=b"t" * 40)
    for size in range(len(whole) - 1250 + 46):
        found = parse_long_header(whole[:size])
        assert found is None or len(found.token) == 40


def test_variable_length_integers() -> None:
    # RFC 9000 §A.1
    for text, value in (("25", 37), ("4025", 37), ("7bbd", 15293), ("9d7f3e7d", 494878333)):
        assert read_varint(bytes.fromhex(text), 0) == (value, len(text) // 2)
    assert read_varint(bytes.fromhex("c2197c5eff14e88c"), 0) == (151288809941952652, 8)
    assert read_varint(b"", 0)[0] == read_varint(b"\x40", 0)[0] == read_varint(b"\xc0\0\0\0\0\0\0", 0)[0] == -1


def test_version_negotiation_is_read_by_clients() -> None:
    made = packets.version_negotiation(LongHeader(0xFF, 0, b"dest", b"src"), bytes(range(5)))
    header = pull_quic_header(Buffer(data=made), 8)
    assert (header.version, header.destination_cid, header.source_cid) == (0, b"src", b"dest")
    assert header.supported_versions[0] == 1
    assert header.supported_versions[1] & 0x0F0F0F0F == 0x0A0A0A0A


def test_a_retry_is_read_by_clients() -> None:
    header = LongHeader(1, INITIAL, b"original", b"theirs")
    made = packets.retry(header, b"ours1234", b"a token")
    found = pull_quic_header(Buffer(data=made), 8)
    assert (found.packet_type, found.destination_cid, found.source_cid) == (
        QuicPacketType.RETRY,
        b"theirs",
        b"ours1234",
    )
    assert found.token == b"a token"
    assert found.integrity_tag == get_retry_integrity_tag(made[:-16], b"original", version=1)


def test_a_refusal_is_read_by_clients() -> None:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
    client = QuicConnection(configuration=configuration)
    client.connect(("192.0.2.1", 443), now=0.0)
    header = packets.parse_long_header(client.datagrams_to_send(now=0.0)[0][0])
    assert header is not None
    client.receive_datagram(packets.refusal(header, b"ours1234"), ("192.0.2.1", 443), now=0.1)
    client.handle_timer(now=30.0)
    ended = [event for event in iter(client.next_event, None) if isinstance(event, ConnectionTerminated)]
    assert [event.error_code for event in ended] == [2]  # CONNECTION_REFUSED, RFC 9000 §20.1


def test_a_stateless_reset_looks_like_any_packet() -> None:
    made = packets.stateless_reset(b"t" * 16, 40, bytes([0xFF] * 40))
    assert (len(made), made[0] & 0xC0, made[-16:]) == (40, 0x40, b"t" * 16)
