"""Field sections of HTTP/3 that wait for the dynamic table (RFC 9204 §2.1.2), and those of them that are given up."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import frame
from tests.stage.quic_memory import Client

CAPACITY = b"\x3f\xe1\x1f"  # 4096 bytes
INSERT = b"\xc0\x09localhost"  # :authority, by its name in the static table
ENTRIES = 2 * (4096 // 32)  # by which the number of entries in a section is counted (§4.5.1.1)


class Answering:
    """A handler that answers with the name of the host."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def handle(self, exchange: Any) -> None:
        self.hosts.append(exchange.request.host)
        exchange.respond(200, b"", b"yes")


def begin() -> tuple[Answering, Client]:
    handler = Answering()
    client = Client(handler)
    client.quic.send_stream_data(client.http._local_encoder_stream_id, CAPACITY)
    client.exchange()
    return handler, client


def insert(client: Client) -> None:
    """Add an entry to the dynamic table."""
    client.quic.send_stream_data(client.http._local_encoder_stream_id, INSERT)
    client.exchange()


def request(client: Client, stream: int, entries: int) -> None:
    """Send a request whose :authority is the newest of so many entries."""
    section = bytes((entries % ENTRIES + 1, 0)) + b"\xd1\xd7\xc1\x80"
    client.quic.send_stream_data(stream, frame(frames.HEADERS, section), end_stream=True)
    client.exchange()


def test_a_request_waits_for_the_entry_that_it_refers_to() -> None:
    handler, client = begin()
    request(client, 0, 1)
    (connection,) = client.endpoint.http
    assert (handler.hosts, connection.session.heads.size > 0) == ([], True)
    insert(client)
    assert (handler.hosts, connection.session.heads.size) == (["localhost"], 0)
    client.end()


def test_requests_that_are_given_up_meanwhile_are_not_kept() -> None:
    handler, client = begin()
    (connection,) = client.endpoint.http
    session = connection.session
    for number in range(40):  # more than may wait at once
        request(client, 4 * number, number + 1)
        client.quic.stop_stream(4 * number, frames.REQUEST_CANCELLED)
        client.exchange()
        assert session.heads.size > 0  # the library cannot be told to forget it
        insert(client)
        assert not client.connection.is_closed, number
        with pytest.raises(Exception):  # noqa: B017 - the library's
            session._decoder.resume_header(4 * number)
    request(client, 160, 40)
    assert (handler.hosts, session.heads.size, session._blocked) == (["localhost"], 0, {})
    client.end()


def test_too_many_that_wait_end_the_connection() -> None:
    _, client = begin()
    for number in range(17):
        assert not client.connection.is_closed
        request(client, 4 * number, 1)
    assert client.connection.is_closed
    client.end()
