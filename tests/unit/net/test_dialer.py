"""Connecting to targets: names with several addresses, failures told in words, TLS towards them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from npserver.address import Address
from npserver.errors import Phase, UpstreamError
from npserver.net import dialer
from npserver.net.dialer import explain
from npserver.tls.certificates import client_context
from tests.stage.dialing import Ear, call, serving
from tests.stage.programs import needs_localhost
from tests.stage.worker import running_context


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


def known(context: Any, host: str, *addresses: str, error: str = "") -> None:
    """Publish what the controller would."""
    context.pubsub.publish(f"resolved:{host}", {"addresses": list(addresses), "error": error})


async def failure(context: Any, address: str | Address, **more: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await call(context, address, **more)
    return caught.value


class TestConnecting:
    """Over TCP and Unix sockets."""

    async def test_an_address_is_connected_to(self) -> None:
        async with running_context() as context, serving(echo) as port:
            ear = await call(context, f"tcp://127.0.0.1:{port}")
            ear.transport.write(b"hello")
            assert await ear.hears(5) == b"hello"
            connection = ear.transport.get_extra_info("socket")
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            ear.transport.close()

    async def test_a_unix_socket_is_connected_to(self, socket_dir: Path) -> None:
        async with running_context() as context, serving(echo, path=str(socket_dir / "s")):
            ear = await call(context, f"unix://{socket_dir}/s")
            ear.transport.write(b"hello")
            assert await ear.hears(5) == b"hello"
            ear.transport.close()

    @needs_localhost
    async def test_a_name_is_looked_up(self) -> None:
        async with running_context() as context, serving(echo) as port:
            ear = await call(context, f"tcp://localhost:{port}")
            ear.transport.write(b"hello")
            assert await ear.hears(5) == b"hello"
            ear.transport.close()

    async def test_next_address_after_a_refusal(self) -> None:
        """All addresses of a name are tried, the protocol is made once."""
        made = []

        def make() -> Ear:
            made.append(Ear())
            return made[-1]

        async with running_context() as context, serving(echo) as port:
            known(context, "db.test", "127.0.0.3", "127.0.0.2", "127.0.0.1")
            for _ in range(3):
                transport, ear = await dialer.dial(context, Address("tcp", "db.test", port), make, timeout_s=5)
                assert transport.get_extra_info("peername")[0] == "127.0.0.1"
                assert [ear] == made
                made.clear()
                transport.close()

    async def test_every_address_gets_its_turn(self) -> None:
        async with running_context() as context, serving(echo) as port, serving(echo, "127.0.0.2", port):
            known(context, "db.test", "127.0.0.1", "127.0.0.2")
            reached = []
            for _ in range(6):
                ear = await call(context, f"tcp://db.test:{port}")
                reached.append(ear.transport.get_extra_info("peername")[0])
                ear.transport.close()
            assert sorted(reached) == ["127.0.0.1"] * 3 + ["127.0.0.2"] * 3

    async def test_an_address_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 8305 §5: the next is tried beside it, and it comes last from then on."""
        monkeypatch.setattr(dialer, "STAGGER_S", 0.02)
        silent_one = socket.create_server(("127.0.0.2", 0), backlog=0)
        port = silent_one.getsockname()[1]
        filling = []
        for _ in range(4):  # its queue is full: it answers no more
            filling.append(socket.socket())
            filling[-1].setblocking(False)
            filling[-1].connect_ex(("127.0.0.2", port))
        async with running_context() as context, serving(echo, port=port):
            known(context, "db.test", "127.0.0.2", "127.0.0.1")
            for _ in range(4):
                ear = await call(context, f"tcp://db.test:{port}", timeout_s=2)
                assert ear.transport.get_extra_info("peername")[0] == "127.0.0.1"
                ear.transport.close()
        for one in (silent_one, *filling):
            one.close()


class TestFailures:
    """Failures, in the words of the log."""

    async def test_a_refusal_is_told(self, free_port: Callable[[], int]) -> None:
        port = free_port()
        async with running_context() as context:
            error = await failure(context, f"tcp://127.0.0.1:{port}")
        assert str(error) == f"tcp://127.0.0.1:{port}: connection refused"
        assert (error.phase, error.timeout, error.target) == (Phase.DIAL, False, f"tcp://127.0.0.1:{port}")

    async def test_a_refusal_by_all_addresses_is_told(self, free_port: Callable[[], int]) -> None:
        port = free_port()
        async with running_context() as context:
            known(context, "db.test", "127.0.0.1", "127.0.0.2")
            error = await failure(context, f"tcp://db.test:{port}")
        assert str(error) == f"tcp://db.test:{port}: connection refused (127.0.0.1, 127.0.0.2)"

    async def test_a_unix_socket_whose_queue_is_full_is_waited_for(self, socket_dir: Path) -> None:
        """As that of PHP-FPM is while all its processes are busy; the kernel makes no connection wait."""
        async with running_context() as context:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(socket_dir / "s"))
                listening.listen(0)
                first = await call(context, f"unix://{socket_dir}/s")
                error = await failure(context, f"unix://{socket_dir}/s", timeout_s=0.02, key="timeouts.connect")
                assert (error.phase, error.timeout, error.key) == (Phase.DIAL, True, "timeouts.connect")
                second = asyncio.create_task(call(context, f"unix://{socket_dir}/s"))
                await asyncio.sleep(0)
                accepted = listening.accept()[0]
                ear = await asyncio.wait_for(second, 30)
                first.transport.close()
                with accepted, listening.accept()[0] as other:
                    other.sendall(b"hello")
                    assert await ear.hears(5) == b"hello"
                    ear.transport.close()

    async def test_a_missing_socket_is_told(self, socket_dir: Path) -> None:
        async with running_context() as context:
            error = await failure(context, f"unix://{socket_dir}/none")
        assert str(error) == f"unix://{socket_dir}/none: no such file or directory"

    async def test_an_unknown_name_is_told(self) -> None:
        async with running_context() as context:
            known(context, "gone.test", error="name or service not known")
            error = await failure(context, "tcp://gone.test:1")
        assert str(error) == "tcp://gone.test:1: host gone.test does not resolve: name or service not known"
        assert error.phase is Phase.RESOLVE

    async def test_silence_is_told(self) -> None:
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        address = full.getsockname()
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(address)
        async with running_context() as context:
            error = await failure(context, f"tcp://127.0.0.1:{address[1]}", timeout_s=0.05, key="connect_timeout")
        assert (error.timeout, error.key, error.phase) == (True, "connect_timeout", Phase.DIAL)
        assert "no connection within 0.05 s" in str(error)
        for one in (full, *filling):
            one.close()

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (OSError(errno.EHOSTUNREACH, "decorated"), "no route to host"),
            (ConnectionResetError("Closed"), "closed"),
            (OSError(), "oserror"),
        ],
    )
    def test_each_error_has_its_words(self, error: OSError, text: str) -> None:
        assert explain(error).lower() == text


class TestTls:
    """RFC 8446 towards upstreams: verified unless told otherwise."""

    @needs_localhost
    async def test_a_good_certificate_is_verified(self, certificates: Callable[..., Any]) -> None:
        issued = certificates("localhost", "127.0.0.1")
        names: list[str | None] = []
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(issued.cert, issued.key)
        server.sni_callback = lambda connection, name, context: names.append(name)  # type: ignore[assignment,func-returns-value]
        trusting = client_context(ca=str(issued.ca))
        async with running_context() as context, serving(echo, ssl=server) as port:
            for address, server_name in (("localhost", None), ("127.0.0.1", None), ("127.0.0.1", "localhost")):
                ear = await call(context, f"ssl://{address}:{port}", tls=trusting, server_name=server_name)
                ear.transport.write(b"hello")
                assert await ear.hears(5) == b"hello"
                assert ear.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
                ear.transport.close()
                await ear.until(lambda ear: ear.is_lost)
                assert ear.error is None
        assert names == ["localhost", None, "localhost"]  # RFC 6066 §3: an address is no server name

    async def test_a_certificate_for_another_name_is_refused(self, certificates: Callable[..., Any]) -> None:
        issued = certificates("other.example")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(issued.cert, issued.key)
        async with running_context() as context, serving(echo, ssl=server) as port:
            error = await failure(context, f"ssl://127.0.0.1:{port}", tls=client_context(ca=str(issued.ca)))
        assert "certificate not accepted: IP address mismatch" in str(error)
        assert "`tls.server_name` sets the name" in str(error)

    async def test_a_certificate_of_an_unknown_authority_is_refused(
        self, certificates: Callable[..., Any], tmp_path: Path
    ) -> None:
        issued = certificates()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(issued.cert, issued.key)
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "another.pem"))
        async with running_context() as context, serving(echo, ssl=server) as port:
            other = client_context(ca=str(tmp_path / "another.pem"))
            error = await failure(context, f"ssl://127.0.0.1:{port}", tls=other)
            assert "certificate not accepted: unable to get local issuer certificate" in str(error)
            assert "`tls.ca` names the authority" in str(error)
            assert error.phase is Phase.DIAL
            ear = await call(context, f"ssl://127.0.0.1:{port}", tls=client_context(insecure=True))
            ear.transport.abort()

    async def test_a_client_certificate_is_sent(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(issued.ca))
        server.load_cert_chain(issued.cert, issued.key)
        server.verify_mode = ssl.CERT_REQUIRED
        own = client_context(str(issued.ca), str(issued.cert), str(issued.key))
        async with running_context() as context, serving(echo, ssl=server) as port:
            ear = await call(context, f"ssl://127.0.0.1:{port}", tls=own)
            ear.transport.write(b"hello")
            assert await ear.hears(5) == b"hello"
            ear.transport.close()
            await ear.until(lambda ear: ear.is_lost)

    async def test_a_server_without_tls_is_told(self, certificates: Callable[..., Any]) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 plain speaks first\r\n")
            await reader.read(-1)

        async with running_context() as context, serving(greet) as port:
            error = await failure(context, f"ssl://127.0.0.1:{port}", tls=client_context(ca=str(certificates().ca)))
        assert "TLS handshake failed: " in str(error)

    async def test_a_server_that_closes_is_told(self, certificates: Callable[..., Any]) -> None:
        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)

        async with running_context() as context, serving(leave) as port:
            error = await failure(context, f"ssl://127.0.0.1:{port}", tls=client_context(ca=str(certificates().ca)))
        assert "closed during the TLS handshake" in str(error) or "connection reset by peer" in str(error)

    async def test_a_silent_server_is_told(self, certificates: Callable[..., Any]) -> None:
        async with running_context() as context, serving(silent) as port:
            tls = client_context(ca=str(certificates().ca))
            error = await failure(context, f"ssl://127.0.0.1:{port}", tls=tls, timeout_s=0.05)
        assert error.timeout
        assert "TLS handshake not complete within 0.05 s" in str(error)

    async def test_a_preface_goes_ahead_of_tls(self, certificates: Callable[..., Any]) -> None:
        """A PROXY header goes ahead of TLS."""
        began: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began.set_result(await reader.readexactly(18))

        async with running_context() as context, serving(note) as port:
            tls = client_context(ca=str(certificates().ca))
            await failure(context, f"ssl://127.0.0.1:{port}", tls=tls, preface=b"PROXY UNKNOWN\r\n")
            assert (await began) == b"PROXY UNKNOWN\r\n\x16\x03\x01"
