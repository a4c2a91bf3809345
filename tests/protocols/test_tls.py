"""TLS with clients (RFC 8446, 6066): versions, certificates by name, client certificates, resumption, no TLS at all.

Covers `tls.accept` and `tls.certificates`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import npserver
from tests.stage.tls import RESPOND, MemoryTls, ask, client, https

DEADLINE_S = 30.0


async def raw(port: int, data: bytes, *, ends: bool = False) -> bytes:
    """Send bytes; give everything that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


class TestVersions:
    """RFC 8446, RFC 5246, RFC 8996."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_both_versions_are_spoken(self, certificates: Callable[..., Any], version: ssl.TLSVersion) -> None:
        issued = certificates()
        context = client(issued.ca, minimum_version=version, maximum_version=version)
        context.set_alpn_protocols(["http/1.1"])
        async with https(issued.config) as port:
            reply = await ask(port, context)
        assert (reply.status, reply.tls.version()) == (200, version.name.replace("_", "."))
        assert reply.body == f"localhost localhost {version.name.replace('_', '.')} "
        assert reply.tls.selected_alpn_protocol() == "http/1.1"
        cipher = reply.tls.cipher()
        assert cipher is not None and ("GCM" in cipher[0] or "CHACHA20" in cipher[0])

    async def test_min_version_refuses_older_ones(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        async with https(issued.config | {"min_version": "1.3"}) as port:
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
                await ask(port, client(issued.ca, maximum_version=ssl.TLSVersion.TLSv1_2))
            assert (await ask(port, client(issued.ca))).status == 200

    async def test_old_ones_are_refused(self, certificates: Callable[..., Any]) -> None:
        """RFC 8996: TLS 1.1 is over. The hello is made by hand, as OpenSSL does not send one any more."""
        body = b"\x03\x02" + bytes(32) + b"\0" + b"\x00\x04\xc0\x13\xc0\x14" + b"\x01\0"
        message = b"\x01" + len(body).to_bytes(3, "big") + body
        async with https(certificates().config) as port:
            answer = await raw(port, b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
        assert answer[:1] == b"\x15"  # an alert
        assert answer[5:7] == b"\x02\x46"  # fatal, protocol_version (RFC 8446 §6.2)

    @pytest.mark.parametrize("ciphers", ["ECDHE+AES+SHA", "AES128-GCM-SHA256"])
    async def test_weak_ciphers_are_refused(self, certificates: Callable[..., Any], ciphers: str) -> None:
        """RFC 9325 §4.2: neither CBC nor key exchange without forward secrecy."""
        issued = certificates()
        context = client(issued.ca, maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        async with https(issued.config) as port:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(port, context)


class TestNames:
    """RFC 6066 §3: the certificate is chosen by the server name."""

    @pytest.mark.parametrize(
        ("name", "certificate"),
        [
            ("one.example", "one.example"),
            ("ONE.Example", "one.example"),
            ("two.example", "two.example"),
            ("a.two.example", "*.two.example"),
            ("b.a.two.example", "one.example"),  # RFC 9525 §6.3: a wildcard stands for one label
            ("unknown.example", "one.example"),
            ("127.0.0.1", "one.example"),  # no name at all
            ("alias.example", "three.example"),
            ("x.alias.example", "three.example"),
            ("three.example", "one.example"),  # `names` says what it is for
        ],
    )
    async def test_the_name_chooses_the_certificate(
        self, certificates: Callable[..., Any], name: str, certificate: str
    ) -> None:
        one, two, three = certificates("one.example"), certificates("two.example", "*.two.example"), None
        three = certificates("three.example")
        entries = [one.config, two.config, three.config | {"names": ["alias.example", "*.alias.example"]}]
        async with https(entries) as port:
            reply = await ask(port, client(one.ca), name, host="x")
        assert certificate in reply.names

    async def test_a_hello_in_pieces_is_read(self, certificates: Callable[..., Any]) -> None:
        one, two = certificates("one.example"), certificates("two.example")
        wire = MemoryTls(client(one.ca), "two.example", None)
        async with https([one.config, two.config]) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with pytest.raises(ssl.SSLWantReadError):
                wire.tls.do_handshake()
            for byte in wire.outgoing.read():
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            await wire.shake(reader, writer)
            certificate: Any = wire.tls.getpeercert()
            assert certificate["subjectAltName"] == (("DNS", "two.example"),)
            writer.close()

    async def test_a_listener_of_its_own(self, certificates: Callable[..., Any]) -> None:
        one, two = certificates("one.example"), certificates("two.example")
        listen = [{"name": "own", "uri": "https://127.0.0.1:0", "tls": two.config}]
        async with https(one.config, listen=listen) as port:
            assert (await ask(port, client(one.ca), "one.example")).names == ("two.example",)


class TestProtocols:
    """RFC 7301 §3.2: the server selects a protocol of the client's list, or ends the handshake with an alert."""

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize(
        ("http2", "offered", "selected"),
        [
            (True, ["h2", "http/1.1"], "h2"),
            (True, ["h2"], "h2"),
            (True, ["http/1.0", "http/1.1"], "http/1.1"),
            (False, ["h2", "http/1.1"], "http/1.1"),
            (True, [], None),
            (False, [], None),
        ],
    )
    async def test_a_common_protocol_is_selected(
        self, certificates: Callable[..., Any], http2: bool, offered: list[str], selected: str | None, count: int
    ) -> None:
        """The list is looked at here, or there is none."""
        entries = [certificates(f"n{n}.example") for n in range(count)]
        async with https([one.config | {"http2": http2} for one in entries]) as port:
            assert (await self.shake(port, client(entries[0].ca), offered)).tls.selected_alpn_protocol() == selected

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize(
        ("http2", "offered"),
        [
            (True, ["http/1.0"]),
            (True, ["acme-tls/1"]),
            (True, ["h3", "spdy/3", "H2", "xh2"]),
            (False, ["h2"]),
            (True, [f"made-up-protocol/{number}" for number in range(900)]),  # a list in two records
        ],
    )
    async def test_without_a_common_protocol_the_handshake_ends(
        self, certificates: Callable[..., Any], http2: bool, offered: list[str], version: ssl.TLSVersion, count: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        caplog.set_level(logging.DEBUG, "npserver.tls")
        entries = [certificates(f"n{n}.example") for n in range(count)]
        context = client(entries[0].ca, minimum_version=version, maximum_version=version)
        async with https([one.config | {"http2": http2} for one in entries]) as port:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert.no.application.protocol"):
                await self.shake(port, context, offered)
        ours = "h2, http/1.1" if http2 else "http/1.1"
        (record,) = [one for one in caplog.records if "no common ALPN protocol" in one.getMessage()]
        assert f"the client offers '{offered[0]}" in record.getMessage()
        assert record.getMessage().endswith(f", the server {ours} (http2)")
        assert record.levelno == logging.DEBUG

    async def test_a_listener_that_may_carry_anything_ignores_the_list(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        rule = {"listener": "any", "handler": "forward", "forward_to": "tcp://127.0.0.1:1"}
        listen = [{"name": "any", "uri": "ssl://127.0.0.1:0"}]
        for offered in (["postgresql"], ["h2", "http/1.1"], ["dot"]):
            async with https(issued.config, listen=listen, dispatch=[rule]) as port:
                assert (await self.shake(port, client(issued.ca), offered)).tls.selected_alpn_protocol() is None

    @staticmethod
    async def shake(port: int, context: ssl.SSLContext, offered: list[str]) -> MemoryTls:
        """Complete a handshake with this list of protocols, and close."""
        context.set_alpn_protocols(offered)
        wire = MemoryTls(context, "n0.example", None)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await wire.shake(reader, writer)
        finally:
            writer.close()
        return wire


class TestClientCertificates:
    """Mutual TLS (RFC 8446 §4.3.2)."""

    @staticmethod
    def with_certificate(issued: Any, own: Any) -> ssl.SSLContext:
        context = client(issued.ca)
        context.load_cert_chain(own.cert, own.key)
        return context

    async def test_a_required_certificate_must_come(self, certificates: Callable[..., Any]) -> None:
        issued, own = certificates(), certificates("client.example")
        async with https(issued.config | {"client_ca": str(issued.ca)}) as port:
            with pytest.raises((ssl.SSLError, ConnectionResetError), match=r"(?i)certificate.required|^$|reset"):
                await ask(port, client(issued.ca))
            reply = await ask(port, self.with_certificate(issued, own))
        assert reply.status == 200
        assert "trustme" in reply.body  # $tls_client_subject

    async def test_a_requested_certificate_may_come(self, certificates: Callable[..., Any]) -> None:
        issued, own = certificates(), certificates("client.example")
        async with https(issued.config | {"client_ca": str(issued.ca), "client_auth": "request"}) as port:
            assert (await ask(port, client(issued.ca))).body == "localhost localhost TLSv1.3 "
            assert "trustme" in (await ask(port, self.with_certificate(issued, own))).body

    @pytest.mark.parametrize("auth", ["require", "request"])
    async def test_a_certificate_of_another_authority_is_refused(
        self, certificates: Callable[..., Any], tmp_path: Path, auth: str
    ) -> None:
        issued = certificates()
        stranger = trustme.CA().issue_cert("client.example")
        context = client(issued.ca)
        with stranger.private_key_and_cert_chain_pem.tempfile() as file:
            context.load_cert_chain(file)
        async with https(issued.config | {"client_ca": str(issued.ca), "client_auth": auth}) as port:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(port, context)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_no_way_around_by_resuming(self, certificates: Callable[..., Any], version: ssl.TLSVersion) -> None:
        """CVE-2025-23419: a session of an open name must not be resumed at one that asks for a certificate."""
        opened, closed = certificates("open.example"), certificates("closed.example")
        own = certificates("client.example")
        entries = [opened.config, closed.config | {"client_ca": str(opened.ca)}]
        settings = {"minimum_version": version, "maximum_version": version}
        context = client(opened.ca, **settings)
        async with https(entries) as port:
            first = await ask(port, context, "open.example")
            again = await ask(port, context, "open.example", session=first.tls.session)
            assert (first.is_resumed, again.is_resumed) == (False, True)
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(port, context, "closed.example", session=first.tls.session)
            context.load_cert_chain(own.cert, own.key)
            verified = await ask(port, context, "closed.example", session=first.tls.session)
            assert (verified.status, verified.is_resumed) == (200, False)
            resumed = await ask(port, context, "closed.example", session=verified.tls.session)
            assert (resumed.is_resumed, "trustme" in resumed.body) == (True, True)

    async def test_no_way_around_by_the_host_header(self, certificates: Callable[..., Any]) -> None:
        """RFC 9110 §15.5.20: such a request is misdirected."""
        opened, closed, plain = certificates("open.example"), certificates("closed.example"), certificates("p.example")
        entries = [opened.config, closed.config | {"client_ca": str(opened.ca)}, plain.config]
        async with https(entries) as port:
            reply = await ask(port, client(opened.ca), "open.example", host="closed.example")
            assert (reply.status, "closed" in reply.body) == (421, False)
            assert (await ask(port, client(opened.ca), "open.example", host="p.example")).status == 200


class TestResumption:
    """RFC 8446 §2.2, RFC 5077."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_session_is_resumed(self, certificates: Callable[..., Any], version: ssl.TLSVersion) -> None:
        issued = certificates()
        context = client(issued.ca, minimum_version=version, maximum_version=version)
        async with https(issued.config) as port:
            first = await ask(port, context)
            again = await ask(port, context, session=first.tls.session)
        assert (first.is_resumed, again.is_resumed, again.status) == (False, True, 200)

    async def test_a_session_is_resumed_across_a_reload(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        context = client(issued.ca)
        config = {"listen": ["https://127.0.0.1:0"], "tls": issued.config, "dispatch": [RESPOND]}
        async with npserver.serve(config, shutdown_s=0) as server:
            port = int(server.url().rpartition(":")[2])
            first = await ask(port, context)
            await server.reload(config | {"server_header": "other"})
            assert (await ask(port, context, session=first.tls.session)).is_resumed


class TestWrongBeginnings:
    """Bytes that are no TLS, and handshakes that are never finished."""

    async def test_plain_http_is_told_so(self, certificates: Callable[..., Any]) -> None:
        async with https(certificates().config) as port:
            answer = await raw(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ends=True)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert f"Content-Length: {len(body)}\r\n".encode() in head
        assert b"https://" in body

    async def test_plain_http_with_a_body_still_coming(self, certificates: Callable[..., Any]) -> None:
        async with https(certificates().config) as port:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
            answer = await raw(port, head + b"x" * 200_000, ends=True)
        assert answer.startswith(b"HTTP/1.1 400 ")

    @pytest.mark.parametrize(
        "data", [b"\0" * 20, b"\x80\x2e\x01\x03\x01", b"\xff" * 2000, b"\x15\x03\x01\x00\x02\x01\x00"]
    )
    async def test_garbage_ends_the_connection(self, certificates: Callable[..., Any], data: bytes) -> None:
        async with https(certificates().config) as port:
            assert await raw(port, data) == b""
            assert (await ask(port, client(certificates().ca))).status == 200

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 100])
    async def test_a_broken_hello_ends_the_connection(
        self, certificates: Callable[..., Any], data: bytes, count: int
    ) -> None:
        """Whether or not the hello is read before OpenSSL sees it."""
        entries = [certificates(f"n{n}.example").config for n in range(count)]
        async with https(entries) as port:
            assert (await raw(port, data))[:1] == b"\x15"  # an alert (RFC 8446 §6)

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("name", [b"a\xa9example", b"\xff" * 20, b"a b"])
    async def test_any_bytes_may_stand_for_a_server_name(
        self, certificates: Callable[..., Any], name: bytes, count: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """RFC 6066 §3: a name that is not known gets the default certificate. Nothing is logged."""
        entries = [certificates(f"n{n}.example").config for n in range(count)]
        outgoing = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with pytest.raises(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="x" * len(name)).do_handshake()
        hello = outgoing.read().replace(b"x" * len(name), name)
        async with https(entries) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(hello)
            async with asyncio.timeout(DEADLINE_S):
                assert (await reader.readexactly(6))[::5] == b"\x16\x02"  # a handshake record with a ServerHello
            writer.close()
        assert not caplog.records

    @pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
    async def test_handshake_that_is_not_finished(self, certificates: Callable[..., Any], data: bytes) -> None:
        for entries in ([certificates().config], [certificates("a.example").config, certificates("b.example").config]):
            async with https(entries, timeouts={"tls_handshake": "50ms"}) as port:
                assert await raw(port, data) == b""

    async def test_a_client_that_leaves_is_forgotten(
        self, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR)
        async with https(certificates().config) as port:
            for data in (b"", b"\x16\x03\x01"):
                assert await raw(port, data, ends=True) == b""
        assert caplog.records == []
