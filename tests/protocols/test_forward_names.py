"""Several forwards on one listener, told apart by the client's network and by the TLS server name it asks for.

Covers `forward.postgres` and `forward.stream_router`.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.protocols.forwarding import DEADLINE_S, ask, connect, named, refused, serve, stream_server, streams

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


async def test_names_beyond_ascii_are_those_that_clients_send(certificates: Callable[..., Any]) -> None:
    """Both in the ClientHello of a client and in ours to a target."""
    certificate = certificates("xn--strae-oqa.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with stream_server(named(b"named "), ssl=context) as target, stream_server(named(b"plain ")) as plain:
        to_target = {
            "forward_to": f"ssl://127.0.0.1:{target}",
            "tls": {"server_name": "straße.example", "ca": str(certificate.ca)},
        }
        async with serve(streams([to_target])) as server:
            async with connect(server) as (reader, _):
                assert await reader.readexactly(6) == b"named "
        rules = [
            {"forward_to": f"tcp://127.0.0.1:{target}", "sni": "Straße.example"},
            {"forward_to": f"tcp://127.0.0.1:{plain}"},
        ]
        async with serve(streams(rules)) as server:
            options = {"ssl": certificate.client(), "server_hostname": "xn--strae-oqa.example"}
            async with connect(server, **options) as (reader, _):
                assert await reader.readexactly(6) == b"named "


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


async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak first, as servers of SMTP, SSH and MySQL do."""
    writer.write(b"220 mail.example ESMTP\r\n")
    while line := await reader.readline():
        writer.write(b"221 bye\r\n" if line == b"QUIT\r\n" else b"250 " + line)


def mail_rules(mail: int, **default: Any) -> list[dict[str, Any]]:
    return [
        {"forward_to": "tcp://127.0.0.1:9", "sni": "web.example.com"},
        {"forward_to": f"tcp://127.0.0.1:{mail}", **default},
    ]


@pytest.mark.parametrize("tls_handshake", ["10s", "1ms"])
async def test_a_client_that_waits_for_the_server_to_speak_gets_the_rule_without_a_name(tls_handshake: str) -> None:
    async with stream_server(banner) as mail:
        rules = mail_rules(mail, sni_timeout="20ms")
        async with serve(streams(rules, timeouts={"tls_handshake": tls_handshake})) as server:
            code, _ = await asyncio.to_thread(smtp_greeting, server.addresses["in"].port)
            assert code == 250


def smtp_greeting(port: int) -> tuple[int, bytes]:
    """Greet a mail server with the standard library's client, which waits for the banner."""
    with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE_S) as client:
        return client.noop()


async def test_that_client_gets_it_by_default_well_before_the_handshake_would_time_out() -> None:
    async with stream_server(banner) as mail:
        async with serve(streams(mail_rules(mail))) as server:
            async with connect(server) as (reader, _):  # within DEADLINE_S, half of timeouts.tls_handshake
                assert await reader.readline() == b"220 mail.example ESMTP\r\n"


async def test_with_sni_timeout_0_such_a_client_is_closed() -> None:
    async with stream_server(banner) as mail:
        rules = mail_rules(mail, sni_timeout=0)
        async with serve(streams(rules, timeouts={"tls_handshake": "300ms"})) as server:
            async with connect(server) as (reader, _):
                with suppress(ConnectionError):
                    assert await reader.read() == b""


async def test_a_client_that_has_begun_a_hello_is_not_silent(certificates: Callable[..., Any]) -> None:
    certificate = certificates("web.example.com")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with stream_server(banner) as mail, stream_server(named(b"web "), ssl=context) as web:
        rules = mail_rules(mail, sni_timeout="20ms")
        rules[0]["forward_to"] = f"tcp://127.0.0.1:{web}"
        async with serve(streams(rules)) as server:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certificate.client().wrap_bio(incoming, outgoing, server_hostname="web.example.com")
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = outgoing.read()
            async with connect(server) as (slow, writer), connect(server) as (silent, _):
                writer.write(hello[:7])
                assert await silent.readline() == b"220 mail.example ESMTP\r\n"  # so the time is over
                writer.write(hello[7:])
                assert await slow.readexactly(1) == b"\x16"


@pytest.mark.parametrize("sent", [b"", b"\0", b"\x16\x03\x01", b"EHLO me\r\n"])
async def test_a_client_that_ends_its_side_gets_the_rule_without_a_name(sent: bytes) -> None:
    async with stream_server(named(b"plain ")) as plain:
        async with serve(streams(mail_rules(plain))) as server:
            async with connect(server) as (reader, writer):
                writer.write(sent)
                writer.write_eof()
                assert await reader.read() == b"plain " + sent


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
