"""Targets and resolvers that tell who they are: what a running server does is compared with what `explain` says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.stage.serving import Serve, forgiving

WITHIN_S = 20.0


class Targets:
    """The ports of the servers, by name."""

    def __init__(self) -> None:
        self.http: dict[str, int] = {}
        self.tcp: dict[str, int] = {}
        self.udp: dict[str, int] = {}
        self.resolvers: dict[str, int] = {}


@asynccontextmanager
async def targets() -> AsyncIterator[Targets]:
    """Serve: two HTTP servers that return the head they got, TCP and UDP servers with a banner, two resolvers."""
    found = Targets()
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    transports: list[asyncio.DatagramTransport] = []
    try:
        for name in ("one", "two"):
            servers.append(await asyncio.start_server(forgiving(_echo_of(name)), "127.0.0.1", 0))
            found.http[name] = servers[-1].sockets[0].getsockname()[1]
            servers.append(await asyncio.start_server(forgiving(_banner_of(name)), "127.0.0.1", 0))
            found.tcp[name] = servers[-1].sockets[0].getsockname()[1]
            for kind, ports in ((_Answering, found.udp), (_Resolving, found.resolvers)):
                transport, _ = await loop.create_datagram_endpoint(
                    lambda kind=kind, name=name: kind(name), local_addr=("127.0.0.1", 0)
                )
                transports.append(transport)
                ports[name] = transport.get_extra_info("sockname")[1]
        yield found
    finally:
        for transport in transports:
            transport.close()
        for server in servers:
            server.close()


def _echo_of(name: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line[15:]))
            body = json.dumps({"target": name, "head": head.decode("latin-1")}).encode()
            sent = b"" if head.startswith(b"HEAD ") else body
            fields = b"X-Target: %b\r\nContent-Length: %d\r\n\r\n" % (name.encode(), len(body))
            writer.write(b"HTTP/1.1 299 OK\r\n" + fields + sent)
            await writer.drain()

    return serve


def _banner_of(name: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.write_eof()
        await reader.read()

    return serve


class _Answering(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(self.reply(data), address)

    def reply(self, data: bytes) -> bytes:
        return self._name.encode()


class _Resolving(_Answering):
    """Answers every question with a TXT record, whatever was asked, that names it."""

    def reply(self, data: bytes) -> bytes:
        import dns.message
        import dns.rrset

        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        question = query.question[0]
        response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "CNAME", f"{self._name}.resolver.test."))
        return response.to_wire()


async def talk(
    port: int, client: str, data: bytes, *, tls: ssl.SSLContext | None = None, sni: str = ""
) -> tuple[bytes, bytes]:
    """Send bytes from an address of this machine. Return all that comes until the end, and the server's certificate."""
    secure = {} if tls is None else {"ssl": tls, "server_hostname": sni}
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection("127.0.0.1", port, local_addr=(client, 0), **secure), WITHIN_S
    )
    certificate = b""
    if tls is not None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    found = bytearray()
    try:
        writer.write(data)
        while piece := await asyncio.wait_for(reader.read(65536), WITHIN_S):
            found += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    return bytes(found), certificate


class _Reply(asyncio.DatagramProtocol):
    def __init__(self, reply: asyncio.Future[bytes]) -> None:
        self._reply = reply

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._reply.done():
            self._reply.set_result(data)


async def send_datagram(port: int, client: str, data: bytes) -> bytes:
    """Send a datagram from an address of this machine, and return the reply."""
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Reply(reply), local_addr=(client, 0), remote_addr=("127.0.0.1", port)
    )
    try:
        transport.sendto(data)
        return await asyncio.wait_for(reply, WITHIN_S)
    finally:
        transport.close()


def client_hello(name: str) -> bytes:
    """Return the first bytes of a TLS client that asks for a server name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
