"""Several forwards on one listener, told apart by the client's network and by the TLS server name it asks for.

Covers `forward.postgres` and `forward.stream_router`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.protocols.forwarding import ask, connect, named, refused, serve, stream_server, streams

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL


async def test_rules_are_chosen_by_network() -> None:
    async with stream_server(named(b"lan ")) as lan, stream_server(named(b"other ")) as other:
        rules = [
            {"forward_to": f"tcp://127.0.0.1:{other}"},
            {"forward_to": f"tcp://127.0.0.1:{lan}", "from": ["127.0.0.2", "10.0.0.0/8"]},
        ]
        async with serve(streams(rules)) as server:
            assert await ask(server, b"") == b"other "
            assert await ask(server, b"", local_addr=("127.0.0.2", 0)) == b"lan "


@asynccontextmanager
async def named_routes(certificates: Callable[..., Any], *, default: bool = True) -> AsyncIterator[tuple[Any, Any]]:
    """Three TLS servers behind one listener, told apart by name, and a plain one as the default."""
    certificate = certificates("a.example.com", "*.example.com", "*.b.example.com", "other.test")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with (
        stream_server(named(b"exact"), ssl=context) as exact,
        stream_server(named(b"wild"), ssl=context) as wild,
        stream_server(named(b"deep"), ssl=context) as deep,
        stream_server(named(b"plain ")) as plain,
    ):
        rules = [
            {"forward_to": f"tcp://127.0.0.1:{wild}", "sni": "*.example.com"},
            {"forward_to": f"tcp://127.0.0.1:{exact}", "sni": ["A.example.com"]},
            {"forward_to": f"tcp://127.0.0.1:{deep}", "sni": "*.b.example.com"},
        ]
        if default:
            rules.append({"forward_to": f"tcp://127.0.0.1:{plain}"})
        async with serve(streams(rules, timeouts={"tls_handshake": "300ms"})) as server:
            yield server, certificate.client()


@pytest.mark.parametrize(
    ("name", "answer"), [("a.example.com", b"exact"), ("b.example.com", b"wild"), ("deep.b.example.com", b"deep")]
)
async def test_rules_are_chosen_by_server_name(certificates: Callable[..., Any], name: str, answer: bytes) -> None:
    async with named_routes(certificates) as (server, context):
        async with connect(server, ssl=context, server_hostname=name) as (reader, writer):
            assert await reader.readexactly(len(answer)) == answer
            writer.write(b"through TLS")
            assert await reader.readexactly(11) == b"through TLS"


async def test_what_names_no_server_gets_the_default(certificates: Callable[..., Any]) -> None:
    async with named_routes(certificates) as (server, context):
        assert await ask(server, b"GET / HTTP/1.0\r\n\r\n") == b"plain GET / HTTP/1.0\r\n\r\n"
        with pytest.raises(ssl.SSLError):  # the default does not speak TLS
            await ask(server, ssl=context, server_hostname="other.test")


async def test_without_a_default_what_fits_no_rule_is_refused(certificates: Callable[..., Any]) -> None:
    async with named_routes(certificates, default=False) as (server, context):
        assert await refused(server, b"no TLS at all")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await ask(server, ssl=context, server_hostname="other.test")


async def test_a_hello_byte_by_byte_and_one_that_never_comes(certificates: Callable[..., Any]) -> None:
    async with named_routes(certificates) as (server, context):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="deep.b.example.com")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        async with connect(server) as (reader, writer):
            for byte in outgoing.read():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await reader.readexactly(1)) == b"\x16"  # a handshake record: the ServerHello
        async with connect(server) as (reader, writer):
            writer.write(b"\x16\x03\x01")
            with suppress(ConnectionError):
                assert await reader.read() == b""  # within timeouts.tls_handshake


@pytest.mark.parametrize("gss_first", [False, True])
async def test_postgres_clients_by_server_name(certificates: Callable[..., Any], gss_first: bool) -> None:
    """PostgreSQL's protocol, message flow of SSL session encryption: the request is granted at both ends."""
    certificate = certificates("db.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    requests = []

    async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readexactly(8))
        await asyncio.sleep(0.01)
        assert not reader._buffer, "sent before the answer"  # type: ignore[attr-defined]
        writer.write(b"S")
        await writer.start_tls(context)
        writer.write(b"postgres ")
        writer.write(await reader.readexactly(5))

    async with stream_server(postgres) as port:
        rules = [{"forward_to": f"tcp://127.0.0.1:{port}", "sni": "db.example"}]
        async with serve(streams(rules)) as server:
            async with connect(server) as (reader, writer):
                if gss_first:
                    writer.write(bytes.fromhex("0000000804d21630"))
                    assert await reader.readexactly(1) == b"N"
                writer.write(SSL_REQUEST)
                assert await reader.readexactly(1) == b"S"
                await writer.start_tls(certificate.client(), server_hostname="db.example")
                writer.write(b"hello")
                assert await reader.readexactly(14) == b"postgres hello"
    assert requests == [SSL_REQUEST]


async def test_a_postgres_server_that_refuses_tls(certificates: Callable[..., Any]) -> None:
    hello, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certificates("db.example").client().wrap_bio(hello, outgoing, server_hostname="db.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()

    async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        assert await reader.read() == b""

    async with stream_server(postgres) as port:
        rules = [{"forward_to": f"tcp://127.0.0.1:{port}", "sni": "db.example"}]
        async with serve(streams(rules)) as server:
            async with connect(server) as (reader, writer):
                writer.write(SSL_REQUEST)
                assert await reader.readexactly(1) == b"S"
                writer.write(outgoing.read())
                with pytest.raises(ConnectionResetError):
                    await reader.read()
