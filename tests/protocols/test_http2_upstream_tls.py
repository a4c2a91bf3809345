"""https targets that are offered HTTP/2 (`tls.http2`): what they choose, and upgrades, which take HTTP/1.1."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.protocols.proxying import Connection, Origin, Stage, get, ok, post
from tests.stage.http2_origin import Http2Origin, echo
from tests.stage.serving import forgiving

SWITCH = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(ca: trustme.CA, tmp_path: Path) -> str:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def server_context(ca: trustme.CA, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class Http1Origin(Origin):
    """An https origin that speaks HTTP/1.1, and may say so."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(self.serve)
        self.context = context

    async def open(self, port: int = 0) -> None:
        self.server = await asyncio.start_server(forgiving(self._accept), "127.0.0.1", port, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]

    @staticmethod
    async def serve(connection: Connection) -> None:
        while head := await connection.head():
            await connection.body(head)
            await connection.send(SWITCH if b"\r\nUpgrade: chat\r\n" in head else ok(b"one"))


def stage(origin: Any, trusted: str, **tls: Any) -> Stage:
    return Stage(f"https://127.0.0.1:{origin.port}", tls={"ca": trusted, **tls})


async def test_target_that_chooses_http2(ca: trustme.CA, trusted: str) -> None:
    async with Http2Origin(echo, context=server_context(ca, "h2", "http/1.1")) as origin:
        async with stage(origin, trusted, http2=True) as one:
            for _ in range(2):
                assert (await one.ask(post(b"data")))[::2] == (200, b"data")
            assert len(origin.connections) == 1
            assert origin.requests[0][":scheme"] == "https"
            assert origin.requests[0][":authority"] == f"127.0.0.1:{origin.port}"


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)], ids=["no ALPN", "http/1.1"])
async def test_target_that_does_not(ca: trustme.CA, trusted: str, protocols: tuple[str, ...]) -> None:
    async with Http1Origin(server_context(ca, *protocols)) as origin, stage(origin, trusted, http2=True) as one:
        for _ in range(3):
            assert (await one.ask(post(b"data")))[::2] == (200, b"one")
        assert len(origin.connections) == 1
        answers = await asyncio.gather(*[one.ask(get()) for _ in range(5)])
        assert {answer[0] for answer in answers} == {200}
        assert origin.seen.count(b"HTTP/1.1\r\n") == 8


async def test_http2_is_not_offered_without_the_key(ca: trustme.CA, trusted: str) -> None:
    async with Http1Origin(server_context(ca, "h2", "http/1.1")) as origin, stage(origin, trusted) as one:
        assert (await one.ask(get()))[0] == 200


async def test_upgrades_take_http1(ca: trustme.CA, trusted: str) -> None:
    async with Http1Origin(server_context(ca, "h2", "http/1.1")) as origin, stage(origin, trusted, http2=True) as one:
        client = await one.client()
        await client.send(get("/", "Connection: Upgrade\r\nUpgrade: chat\r\n"))
        assert (await client.head()).startswith(b"HTTP/1.1 101")
        assert origin.connections[0].writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2"
