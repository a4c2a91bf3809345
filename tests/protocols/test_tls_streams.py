"""TLS connections over their life: much data, ends and cuts; and certificates that are renewed meanwhile.

Covers `tls.stream`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

import npserver
from npserver.tls import watch as tls_watch
from tests.stage.backends import Backends
from tests.stage.dialing import call, serving
from tests.stage.tls import ask, client, https
from tests.stage.worker import running_context

DEADLINE_S = 30.0


class TestRenewal:
    """Certificates are replaced while the server runs."""

    @staticmethod
    def install(issued: Any, directory: Path) -> dict[str, str]:
        for source, name in ((issued.cert, "site.crt"), (issued.key, "site.key")):
            shutil.copy(source, directory / f"{name}.new")
            (directory / f"{name}.new").replace(directory / name)
        return {"cert": str(directory / "site.crt"), "key": str(directory / "site.key")}

    @staticmethod
    async def until_shown(port: int, context: ssl.SSLContext, name: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while (await ask(port, context)).names != (name,):
                await asyncio.sleep(0.01)

    async def test_a_renewed_certificate_is_picked_up(
        self, certificates: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(tls_watch, "PERIOD_S", 0.01)
        caplog.set_level(logging.INFO, "npserver.tls")
        old, new = certificates("old.example"), certificates("new.example")
        context = client(old.ca)
        async with https(self.install(old, tmp_path)) as port:
            before = await ask(port, context)
            assert before.names == ("old.example",)
            self.install(new, tmp_path)
            await self.until_shown(port, context, "new.example")
            assert (await ask(port, context, session=before.tls.session)).is_resumed
            (tmp_path / "site.key").write_text("broken")
            async with asyncio.timeout(DEADLINE_S):
                while "cannot be used, the old one stays" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert (await ask(port, context)).names == ("new.example",)
            self.install(old, tmp_path)
            await self.until_shown(port, context, "old.example")
        messages = [record.getMessage() for record in caplog.records if record.name == "npserver.tls"]
        assert sum("cannot be used" in message for message in messages) == 1
        assert "not a usable PEM file" in caplog.text

    async def test_a_renewed_key_may_be_of_another_kind(
        self, certificates: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
    ) -> None:
        """The old key must not stay in use beside the new one."""
        monkeypatch.setattr(tls_watch, "PERIOD_S", 0.01)
        old = certificates("old.example")
        rsa = authority.issue_cert("rsa.example", key_type=trustme.KeyType.RSA)
        context = client(old.ca)
        async with https(self.install(old, tmp_path)) as port:
            assert (await ask(port, context)).names == ("old.example",)
            rsa.private_key_pem.write_to_path(str(tmp_path / "site.key"))
            (tmp_path / "site.crt").write_bytes(rsa.cert_chain_pems[0].bytes())
            await self.until_shown(port, context, "rsa.example")
            context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(port, context)


class TestStreams:
    """Over an `ssl` listener that forwards, and our own side of TLS towards it: much data, ends, cuts."""

    @asynccontextmanager
    async def forwarding(self, issued: Any, target: str) -> AsyncIterator[str]:
        config = {
            "listen": ["ssl://127.0.0.1:0"],
            "tls": issued.config,
            "dispatch": [{"listener": "ssl://127.0.0.1:0", "handler": "forward", "forward_to": target}],
        }
        async with npserver.serve(config, shutdown_s=0) as server:
            yield server.url()

    async def test_a_half_close_passes(self, certificates: Callable[..., Any], backends: Backends) -> None:
        """RFC 8446 §6.1: who has sent all may still receive."""
        issued = certificates()
        data = bytes(range(256)) * 4000
        async with (
            running_context() as context,
            self.forwarding(issued, f"tcp://127.0.0.1:{backends.tcp_echo()}") as url,
        ):
            ear = await call(context, url, tls=client(issued.ca))
            ear.transport.write(data)
            ear.transport.write_eof()
            await ear.until(lambda ear: ear.has_ended)
            assert bytes(ear.heard) == data
            await ear.until(lambda ear: ear.is_lost)
            assert ear.error is None

    async def test_the_server_ends_first(self, certificates: Callable[..., Any], backends: Backends) -> None:
        received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"greeting")
            writer.write_eof()
            received.set_result(await reader.read(-1))

        issued = certificates()
        async with running_context() as context, serving(serve) as port:
            async with self.forwarding(issued, f"tcp://127.0.0.1:{port}") as url:
                ear = await call(context, url, tls=client(issued.ca), keeps_open=True)
                await ear.until(lambda ear: ear.has_ended)
                assert ear.heard == b"greeting"
                assert not ear.transport.get_extra_info("truncated")
                ear.transport.write(b"still here")
                ear.transport.close()
                async with asyncio.timeout(DEADLINE_S):
                    assert await received == b"still here"

    async def test_a_slow_reader_slows_the_writer(self, certificates: Callable[..., Any]) -> None:
        """Nobody reads: writing stops, and nothing is lost once somebody does."""
        may_read = asyncio.Event()
        total = 0

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal total
            await may_read.wait()
            while data := await reader.read(1 << 20):
                total += len(data)

        issued = certificates()
        async with running_context() as context, serving(slow) as port:
            async with self.forwarding(issued, f"tcp://127.0.0.1:{port}") as url:
                ear = await call(context, url, tls=client(issued.ca))
                written = 0
                async with asyncio.timeout(DEADLINE_S):
                    while not ear.is_paused:
                        ear.transport.write(bytes(100_000))
                        written += 100_000
                        assert written < 100_000_000
                        await asyncio.sleep(0)
                    assert ear.transport.get_write_buffer_size() > 0
                    may_read.set()
                    await ear.until(lambda ear: not ear.is_paused)
                    ear.transport.write_eof()
                    await ear.until(lambda ear: ear.is_lost)
        assert total == written

    async def test_a_cut_stream_is_told_from_an_ended_one(self, certificates: Callable[..., Any]) -> None:
        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            connection = writer.get_extra_info("socket")
            writer.write(b"half")
            with socket.fromfd(connection.fileno(), connection.family, connection.type) as same:
                same.shutdown(socket.SHUT_RDWR)

        issued = certificates()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(issued.cert, issued.key)
        async with running_context() as context, serving(cut, ssl=server) as port:
            ear = await call(context, f"ssl://127.0.0.1:{port}", tls=client(issued.ca))
            ear.transport.write(b"x")
            await ear.until(lambda ear: ear.has_ended)
            assert ear.heard == b"half"
            assert ear.transport.get_extra_info("truncated")

    async def test_paused_reading_takes_nothing(self, certificates: Callable[..., Any], backends: Backends) -> None:
        issued = certificates()
        async with (
            running_context() as context,
            self.forwarding(issued, f"tcp://127.0.0.1:{backends.tcp_echo()}") as url,
        ):
            ear = await call(context, url, tls=client(issued.ca))
            ear.transport.pause_reading()
            assert not ear.transport.is_reading()
            ear.transport.write(b"hello")
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert ear.heard == b""
            ear.transport.resume_reading()
            assert await ear.hears(5) == b"hello"
            ear.transport.close()
            ear.transport.write(b"too late")
            await ear.until(lambda ear: ear.is_lost)
