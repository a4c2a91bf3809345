"""An npserver in this process with certificates on demand, an application that it asks, and no CA; and its clients."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import npserver
from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from npserver.tls.acme.on_demand.names import PREFIX
from npserver.tls.acme.state import State, Wanted
from tests.stage.asked_application import AskedApplication
from tests.stage.tls import MemoryTls

DEADLINE_S = 30.0
NO_CA = "https://127.0.0.1:1/dir"  # nobody listens there
CONFIGURED = "www.configured.test"


class Served:
    """A running npserver, and clients of it."""

    def __init__(self, server: npserver.Server, certificate: bytes) -> None:
        self.server = server
        self.context = server._single.data_plane.context
        self.port = int(server.url().rpartition(":")[2])
        self._configured = certificate

    async def has_default(self, name: str, source: str = "127.0.0.1") -> bool:
        """Whether the certificate of a handshake is not that of the configured name."""
        return await self.certificate(name, source) != self._configured

    async def certificate(self, name: str, source: str = "127.0.0.1") -> bytes:
        """Shake hands, and ask for a page; return the certificate."""
        wire = MemoryTls(_anyone(), name, None)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await wire.shake(reader, writer)
                wire.tls.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                answer = await wire.read_all(reader, writer)
        finally:
            writer.close()
        assert answer.endswith(b"\r\n\r\nhello"), answer
        return wire.tls.getpeercert(True) or b""

    async def begin(self, name: str) -> asyncio.StreamWriter:
        """Send a ClientHello, and nothing else."""
        wire = MemoryTls(_anyone(), name, None)
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with pytest.raises(ssl.SSLWantReadError):
            wire.tls.do_handshake()
        writer.write(wire.outgoing.read())
        return writer

    def count(self, name: str) -> int:
        """Return a counter."""
        row = self.context.row
        return row.slots[row.slot(name)]

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                await asyncio.sleep(0)

    async def until_asked(self, application: AskedApplication, number: int) -> None:
        await asyncio.to_thread(application.wait_asked, number)


def _anyone() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@asynccontextmanager
async def serving(
    application: AskedApplication, tmp_path: Path, certificates: Callable[..., Any], **on_demand: Any
) -> AsyncIterator[Served]:
    """Serve https with a certificate for `CONFIGURED`, and with one of the local authority; no CA is there."""
    issued = certificates(CONFIGURED)
    acme = {
        "directory": NO_CA,
        "challenge": ["tls-alpn"],
        "on_demand": {"ask": application.url, **on_demand},
    }
    config = {
        "store": str(tmp_path / "store"),
        "listen": ["https://127.0.0.1:0"],
        "tls": [{"acme": acme}, issued.config],
        "dispatch": [{"handler": "respond", "body": "hello"}],
    }
    async with npserver.serve(config, shutdown_s=0) as server:
        yield Served(server, leaf(issued))


def leaf(issued: Any) -> bytes:
    """Return the first certificate of a file in DER."""
    pem = Path(issued.config["cert"]).read_text()
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 25])


Serve = Callable[..., Any]


def kept(tmp_path: Path, issued: Any, name: str, life_s: float = 3600.0, key: str = "tls[0].acme.on_demand") -> str:
    """Put a certificate into the store, as if it had been issued on demand. Return its file."""
    store = DirectoryStore(StoreFiles(str(tmp_path / "store")), in_threads=False)
    state = State(directory=NO_CA, not_before=time.time() - 10, not_after=time.time() + life_s)
    wanted = Wanted(name, (name,), key)
    pem = Path(issued.config["cert"]).read_bytes() + Path(issued.config["key"]).read_bytes()
    finish(store.put(wanted.certificate_key, pem))
    finish(store.put(wanted.state_key, msgspec.json.encode(msgspec.structs.replace(state, ask_at=state.not_after))))
    finish(store.put(f"{PREFIX}{name}.json", msgspec.json.encode([key])))
    return store.files.path(wanted.certificate_key)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "npserver.tls" and one.levelno == level]
