"""Networks that learn from floods: whatever goes over a limit of its own, over each protocol with connections."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import httpx
import trustme
from hpack import Encoder
from hyperframe import frame as frames

from npserver.embed import serve
from tests.protocols.learning import BAD, GATE, GOOD, at_end, connect, learning, status, until
from tests.stage.site import Site


async def test_requests_over_a_rate_limit(tmp_path: Path) -> None:
    limited = {"handler": "respond", "path": "/limited", "rate_limit": "1/h"}
    async with learning({"limited": "2/h"}, limited, tmp_path=tmp_path) as found:
        assert [await status(found, "/limited") for _ in range(2)] == [200, 429]
        assert await status(found, "/gate") == 200
        assert [await status(found, "/limited"), await status(found, "/gate")] == [429, 403]


async def test_forwarded_connections_over_a_rate_limit(tmp_path: Path) -> None:
    async with asyncio.timeout(30), learning({"limited": 2}, tmp_path=tmp_path) as target:
        networks = {"n": {"learn": {"limited": 2}, "except": GOOD}}
        forward = {
            "handler": "forward", "listener": "f", "forward_to": f"tcp://127.0.0.1:{target.port}", "rate_limit": "1/h",
        }  # fmt: skip
        config = {
            "listen": ["http://127.0.0.1:0", {"uri": "tcp://127.0.0.1:0", "name": "f"}],
            "networks": networks, "store": str(tmp_path / "other"), "dispatch": [GATE, forward],
        }  # fmt: skip
        async with serve(config, shutdown_s=0.2) as server:
            found = Site(server)
            port = int(server.url("f").rpartition(":")[2])
            for expected in (200, 200, 403):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(BAD, 0))
                writer.write(b"GET /gate HTTP/1.0\r\n\r\n")
                await at_end(reader)
                writer.close()
                assert await status(found, "/gate") == expected


async def test_heads_over_the_limits_are_scans(tmp_path: Path) -> None:
    async with learning({"scan": 3}, tmp_path=tmp_path, limits={"max_url_size": "1k", "max_headers": 10}) as found:
        for path, fields in (("/" + "x" * 1024, {}), ("/", {f"a{number}": "" for number in range(11)})):
            assert await status(found, path, **fields) == (431 if fields else 414)
        assert await status(found, "/gate") == 200
        client = await connect(found)
        client.writer.write(b"GET / HTTP/1.1\r\na: " + b"x" * 70_000)  # its end never comes
        assert (await client.at_end()).startswith(b"HTTP/1.1 431 ")
        client.close()
        assert await status(found, "/gate") == 403


async def test_requests_of_a_client_over_its_number_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rule = {
            "handler": "proxy", "name": "slow", "path": "/slow",
            "proxy_pass": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "max_requests": {"all": 3, "per_client": 1}, "abort_on_close": True,
        }  # fmt: skip
        async with learning({"limited": 2}, rule, tmp_path=tmp_path) as found:
            waiting = [await connect(found, address) for address in (BAD, "127.0.0.7", "127.0.0.8")]
            for number, client in enumerate(waiting, 1):
                client.writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                line = b'max_requests_in_progress{rule="slow"} %d\n' % number
                await until(lambda line=line: _has(found, line))  # type: ignore[misc]
            for _ in range(3):
                assert await status(found, "/slow", "127.0.0.6") == 503  # not this client's doing
            assert await status(found, "/gate", "127.0.0.6") == 200
            waiting.pop().close()
            await until(lambda: _has(found, b'max_requests_in_progress{rule="slow"} 2\n'))
            for expected in (200, 403):
                assert await status(found, "/slow") == 429
                assert await status(found, "/gate") == expected
            for client in waiting:
                client.close()


async def _has(site: Site, line: bytes) -> bool:
    return line in (await site.ask("/status?format=prometheus")).body


async def test_more_connections_than_a_client_may_have(tmp_path: Path) -> None:
    config = {
        "listen": ["http://127.0.0.1:0", {"uri": "tcp://127.0.0.1:0", "name": "dns"}],
        "timeouts": {"max_connections_per_ip": 2},
        "networks": {"n": {"learn": {"limited": 2}, "except": GOOD}},
        "store": str(tmp_path / "store"),
        "dns": {"a.test": {"A": "192.0.2.1"}},
        "dispatch": [GATE, {"handler": "dns", "listener": "dns"}],
    }
    async with asyncio.timeout(30), serve(config, shutdown_s=0.2) as server:
        found, port = Site(server), int(server.url("dns").rpartition(":")[2])
        for address, refused in ((BAD, b"HTTP/1.1 503 "), ("127.0.0.8", b"")):
            first = await connect(found, address)
            assert (await first.ask("/gate")).status == 200
            second = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            second[1].write(wire_question())
            assert len(await second[0].readexactly(2)) == 2
            for expected in (200, 403):
                target = found.port if refused else port
                reader, writer = await asyncio.open_connection("127.0.0.1", target, local_addr=(address, 0))
                writer.write(b"GET /gate HTTP/1.0\r\n\r\n")
                assert (await at_end(reader)).startswith(refused)
                writer.close()
                assert (await first.ask("/gate")).status == expected
            first.close()
            second[1].close()


def wire_question() -> bytes:
    """Return a question for DNS over TCP."""
    data = dns.message.make_query("a.test", "A").to_wire()
    return len(data).to_bytes(2, "big") + data


async def test_questions_over_connections_and_none_over_udp(tmp_path: Path, authority: trustme.CA) -> None:
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    schemes = {"tcp": "tcp", "ssl": "tls", "https": "https", "udp": "udp"}
    config = {
        "listen": [{"uri": f"{scheme}://127.0.0.1:0", "name": name} for scheme, name in schemes.items()],
        "tls": {"cert": str(tmp_path / "server.pem"), "key": str(tmp_path / "server.pem")},
        "networks": {"n": {"learn": {"dns": 6}, "except": GOOD}},
        "store": str(tmp_path / "store"),
        "dns": {"a.test": {"A": "192.0.2.1"}},
        "dispatch": [
            {"handler": "dns", "listener": list(schemes.values()), "deny": "n"}, {**GATE, "listener": "https"},
        ],
    }  # fmt: skip
    async with serve(config, shutdown_s=0.2) as server:
        ports = {name: int(server.url(name).rpartition(":")[2]) for name in schemes.values()}

        def ask(name: str) -> str:
            query, place = dns.message.make_query("a.test", "A"), {"port": ports[name], "source": BAD, "timeout": 10}
            if name == "udp":
                reply = dns.query.udp(query, "127.0.0.1", **place)
            elif name == "tcp":
                reply = dns.query.tcp(query, "127.0.0.1", **place)
            else:
                reply = dns.query.tls(query, "127.0.0.1", ssl_context=context, server_hostname="127.0.0.1", **place)
            return dns.rcode.to_text(reply.rcode())

        async def ask_over_https(path: str, **request: Any) -> int:
            transport = httpx.AsyncHTTPTransport(verify=context, local_address=BAD, http2=True)
            async with httpx.AsyncClient(transport=transport) as client:
                return (await client.request(url=f"https://127.0.0.1:{ports['https']}{path}", **request)).status_code

        question = wire_question()[2:]
        post = {"method": "POST", "content": question, "headers": {"Content-Type": "application/dns-message"}}
        for _ in range(10):
            assert await asyncio.to_thread(ask, "udp") == "NOERROR"
        for name in ("tcp", "tls"):
            assert [await asyncio.to_thread(ask, name) for _ in range(2)] == ["NOERROR"] * 2
        encoded = base64.urlsafe_b64encode(question).decode().rstrip("=")
        assert await ask_over_https(f"/dns-query?dns={encoded}", method="GET") == 200
        assert await ask_over_https("/gate", method="GET") == 200
        assert await ask_over_https("/dns-query", **post) == 200
        assert await ask_over_https("/dns-query", **post) == await ask_over_https("/gate", method="GET") == 403
        assert [await asyncio.to_thread(ask, name) for name in ("udp", "tcp", "tls")] == ["REFUSED"] * 3


async def test_floods_over_http2(tmp_path: Path, authority: trustme.CA) -> None:
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    config = {
        "listen": ["https://127.0.0.1:0"],
        "tls": {"cert": str(tmp_path / "server.pem"), "key": str(tmp_path / "server.pem")},
        "limits": {"max_resets": 5, "max_control_frames": 10, "max_window_updates": 10},
        "timeouts": {"max_connections_per_ip": 1},
        "networks": {"n": {"learn": {"limited": 2}, "except": GOOD}},
        "store": str(tmp_path / "store"),
        "dispatch": [GATE],
    }
    head = Encoder().encode([(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a")])
    resets = [
        frame
        for stream in range(1, 40, 2)
        for frame in (frames.HeadersFrame(stream, head, flags=["END_HEADERS"]), frames.RstStreamFrame(stream))
    ]
    floods = [
        [frames.PingFrame(0, b"12345678")] * 30,
        [frames.WindowUpdateFrame(0, window_increment=1)] * 30,
        resets,
        [frames.HeadersFrame(1, b""), *[frames.ContinuationFrame(1, b"")] * 2000],  # the library sees it
    ]
    async with asyncio.timeout(20), serve(config, shutdown_s=0.2) as server:
        url, name = server.url(), {"sni_hostname": "localhost"}

        async def open_from(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(
                "127.0.0.1",
                int(url.rpartition(":")[2]),
                local_addr=(address, 0),
                ssl=context,
                server_hostname="localhost",
            )

        async def gate(address: str) -> int:
            transport = httpx.AsyncHTTPTransport(verify=context, local_address=address, http2=True)
            async with httpx.AsyncClient(transport=transport) as client:
                return (await client.get(f"{url}/gate", extensions=name)).status_code

        async def is_let_go(address: str) -> bool:
            return server._single.data_plane.context.row.board.total(connections) == 0

        connections = server._single.data_plane.context.row.slot("gauge.http.connections")
        for number, flood in enumerate(floods):
            address = f"127.0.1.{number}"
            for expected in (200, 403):
                reader, writer = await open_from(address)
                sent = b"".join(frame.serialize() for frame in (frames.SettingsFrame(0), *flood))
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + sent)
                assert await at_end(reader)
                writer.close()
                await until(lambda address=address: is_let_go(address))  # type: ignore[misc]
                assert await gate(address) == expected, flood[0]
                await until(lambda address=address: is_let_go(address))  # type: ignore[misc]
        transport = httpx.AsyncHTTPTransport(verify=context, local_address=BAD, http2=True)
        async with httpx.AsyncClient(transport=transport) as client:  # it has the one connection that it may have
            for expected in (200, 200, 403):
                answer = await client.get(f"{url}/gate", extensions=name)
                assert answer.status_code == expected
                reader, writer = await open_from(BAD)
                assert await at_end(reader)
                writer.close()
