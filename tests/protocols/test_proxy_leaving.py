"""Clients that end their side before the answer: they are waited for, or given up with `abort_on_close`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import npserver
from tests.conftest import Certificate
from tests.protocols.proxying import Client, Connection, Origin, get, ok, post, until
from tests.stage.programs import needs_localhost


class Patient:
    """An upstream that answers when told to; it sees whether its connection ends before."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.is_left = asyncio.Event()

    async def script(self, connection: Connection) -> None:
        while head := await connection.head():
            await connection.body(head)
            reading = asyncio.ensure_future(connection.read())
            waiting = asyncio.ensure_future(self.may_answer.wait())
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                self.is_left.set()
                return
            reading.cancel()
            await asyncio.wait([reading])
            await connection.send(ok(b"worth waiting for"))


@asynccontextmanager
async def staged(**rule: Any) -> AsyncIterator[tuple[Patient, Origin, Client]]:
    patient = Patient()
    async with Origin(patient.script) as origin:
        config = {
            "listen": [{"name": "in", "uri": "http://127.0.0.1:0"}],
            "dispatch": [{"handler": "proxy", "proxy_pass": origin.url, **rule}],
        }
        async with npserver.serve(config, shutdown_s=0) as server:
            client = Client(*await asyncio.open_connection("127.0.0.1", server.addresses["in"].port))
            yield patient, origin, client
            client.close()


@pytest.mark.parametrize("request_", [get(), post(b"body"), get() + get()], ids=["GET", "POST", "pipelined"])
async def test_half_closed_client_gets_all_its_answers(request_: bytes) -> None:
    """As `nc -N` sends: the end of a side says that no more requests follow, not that no answer is wanted."""
    async with staged() as (patient, origin, client):
        await client.send(request_)
        client.writer.write_eof()
        await until(lambda: origin.seen)
        assert not patient.is_left.is_set()
        patient.may_answer.set()
        assert (await client.rest()).count(b"worth waiting for") == request_.count(b" / ")


@pytest.mark.parametrize("request_", [get(), post(b"body"), get() + get()], ids=["GET", "POST", "pipelined"])
async def test_abort_on_close_lets_the_upstream_go(request_: bytes) -> None:
    async with staged(abort_on_close=True) as (patient, origin, client):
        await client.send(request_)
        await until(lambda: origin.seen)
        client.writer.write_eof()
        async with asyncio.timeout(20):
            await patient.is_left.wait()
        assert origin.seen.count(b" / ") == 1, "what was pipelined is not asked for any more"


async def test_abort_on_close_leaves_clients_that_stay_alone() -> None:
    async with staged(abort_on_close=True) as (patient, _, client):
        patient.may_answer.set()
        for _ in range(2):
            assert (await client.ask(get()))[2] == b"worth waiting for"


@needs_localhost
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_a_request_refused_while_its_upstream_is_dialled_leaves_no_connection(
    certificates: Callable[..., Certificate], http2: bool
) -> None:
    """Its body is too long; the TLS handshake of the upstream is complete only after that was answered."""
    certificate = certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    ended = asyncio.Event()

    class Upstream(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            ended.set()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield bytes(5000)
            await asyncio.sleep(0.01)

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        config = {
            "listen": [{"name": "in", "uri": "https://127.0.0.1:0"}],
            "tls": certificate.config,
            "dispatch": [
                {
                    "handler": "proxy",
                    "proxy_pass": f"https://localhost:{listening.getsockname()[1]}",
                    "tls": {"ca": str(certificate.ca)},
                    "max_body_size": 10_000,
                    "keepalive": False,
                }
            ],
        }
        async with npserver.serve(config, shutdown_s=0) as server:
            url = f"https://localhost:{server.addresses['in'].port}/"
            async with httpx.AsyncClient(http1=not http2, http2=http2, verify=certificate.client()) as client:
                answer = await client.post(url, content=body())
            assert answer.status_code == 413
            accepted, _ = await loop.sock_accept(listening)
            await loop.connect_accepted_socket(Upstream, accepted, ssl=context)
            async with asyncio.timeout(30):
                await ended.wait()
