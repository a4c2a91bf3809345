"""Networks that learn, in one process: each event, what is never banned, and how bans end.

Covers `network_sets.ban_service`, `network_sets.events`, `network_sets.learning` and `web.scan_watch`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest
import trustme
from joserfc import jwt
from joserfc.jwk import OctKey

from npserver.embed import serve
from npserver.network_sets import ban_service
from tests.protocols.learning import BAD, GATE, GOOD, STATUS, at_end, bans, connect, is_now, learning, status, until
from tests.stage.site import Site, site


async def test_a_connection_that_is_open_is_refused_at_its_next_request(tmp_path: Path) -> None:
    missing = {"handler": "respond", "path": "/missing", "status": 404}
    async with learning({"scan": 3}, missing, tmp_path=tmp_path) as found:
        client = await connect(found)
        for path in ("/missing", "/unrouted"):
            assert (await client.ask(path)).status == 404
        assert (await client.ask("/gate")).status == 200
        assert (await client.ask("/unrouted")).status == 404
        assert (await client.ask("/gate")).status == 403
        assert await status(found, "/gate", GOOD) == 200
        await until(lambda: is_now(bans(found), 1))
        client.close()
        metrics = (await found.ask("/status?format=prometheus")).body
        assert b'\nnpserver_networks_bans_total{event="scan"} 1\n' in metrics
        assert BAD.encode() not in metrics + (await found.ask("/status")).body


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    """Do it as most clients do: with an alert when it fails, which asyncio does not send."""
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(BAD, 0)) as raw:
        context.wrap_socket(raw, server_hostname="localhost").close()


async def test_bytes_that_are_no_request_are_scans(tmp_path: Path) -> None:
    async with learning({"scan": 2}, tmp_path=tmp_path) as found:
        for expected in (200, 403):
            client = await connect(found)
            client.writer.write(b"\x00\x01garbage\r\n\r\n")
            assert (await client.at_end()).startswith(b"HTTP/1.1 400 ")
            client.close()
            assert await status(found, "/gate") == expected


async def test_answers_of_applications_are_scans(tmp_path: Path) -> None:
    async with site({"handler": "respond", "status": 404}) as application:
        proxy = {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{application.port}"}
        async with learning({"scan": 2}, proxy, tmp_path=tmp_path) as found:
            for expected in (200, 403):
                assert await status(found, "/app/x") == 404
                assert await status(found, "/gate") == expected


async def test_broken_handshakes_and_scans_by_http2(tmp_path: Path, authority: trustme.CA) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    config = {
        "listen": ["https://127.0.0.1:0"],
        "tls": {"cert": str(tmp_path / "server.pem"), "key": str(tmp_path / "server.pem")},
        "networks": {"n": {"learn": {"tls": 3, "scan": 2}, "except": GOOD}},
        "store": str(tmp_path / "store"),
        "dispatch": [GATE],
    }
    async with serve(config, shutdown_s=0.2) as server:
        port = int(server.url().rpartition(":")[2])

        async def answers(http2: bool, *paths: str, address: str = BAD) -> list[int]:
            transport = httpx.AsyncHTTPTransport(verify=context, local_address=address, http2=http2)
            name = {"sni_hostname": "localhost"}
            async with httpx.AsyncClient(transport=transport) as client:
                asked = [await client.get(f"https://127.0.0.1:{port}{path}", extensions=name) for path in paths]
                return [one.status_code for one in asked]

        for data in (b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 9, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(BAD, 0))
            writer.write(data)
            await at_end(reader)
            writer.close()
        doubtful = ssl.create_default_context()
        doubtful.maximum_version = ssl.TLSVersion.TLSv1_2  # later versions end the handshake before the client doubts
        with pytest.raises(ssl.SSLError):  # that the client trusts no certificate is no attack
            await asyncio.to_thread(shake_hands, port, doubtful)
        assert await answers(False, "/gate") == [200]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(BAD, 0))
        writer.write(b"\xff" * 50)
        await at_end(reader)
        writer.close()
        assert await answers(False, "/gate") == await answers(True, "/gate") == [403]
        assert await answers(True, "/a", "/gate", "/b", "/gate", address="127.0.0.8") == [404, 200, 404, 403]


async def test_connections_that_go_around_a_proxy(tmp_path: Path) -> None:
    config = {
        "listen": ["http://127.0.0.1:0", {"uri": "http://127.0.0.2:0", "name": "p", "accept_proxy": GOOD}],
        "networks": {"n": {"learn": {"proxy": 2}, "except": GOOD}},
        "store": str(tmp_path / "store"),
        "dispatch": [GATE],
    }
    async with serve(config, shutdown_s=0.2) as server:
        port = int(server.url("p").rpartition(":")[2])
        for expected in (200, 403):
            reader, writer = await asyncio.open_connection("127.0.0.2", port, local_addr=(BAD, 0))
            writer.write(b"PROXY TCP4 192.0.2.1 127.0.0.2 1 2\r\nGET /gate HTTP/1.0\r\n\r\n")
            assert await at_end(reader) == b""
            writer.close()
            assert await status(Site(server), "/gate") == expected


async def test_logins_by_token_and_at_an_authorization_server(tmp_path: Path) -> None:
    async with site({"handler": "respond", "status": 401}) as login:
        rules = [
            {"handler": "respond", "path": "/jwt", "jwt": {"secret": "0123456789abcdef0123456789abcdef"}},
            {"handler": "respond", "path": "/forward", "forward_auth": {"to": f"http://127.0.0.1:{login.port}"}},
        ]
        async with learning({"login": 2}, *rules, tmp_path=tmp_path) as found:
            for address, path, field in (("127.0.0.8", "/jwt", "Bearer a.b.c"), (BAD, "/forward", "Basic x")):
                for _ in range(3):
                    assert await status(found, path, address) == 401  # nothing is guessed
                for expected in (200, 403):
                    assert await status(found, path, address, Authorization=field) == 401
                    assert await status(found, "/gate", address) == expected


async def test_behind_a_trusted_proxy_the_client_is_banned(tmp_path: Path) -> None:
    async with learning({"scan": 2}, tmp_path=tmp_path, trusted_proxies=BAD) as found:
        for _ in range(2):
            await status(found, "/x", X_Forwarded_For="2001:db8::1")
        assert await status(found, "/gate", X_Forwarded_For="2001:db8::ffff:0:0:2") == 403  # of the same /64
        assert await status(found, "/gate", X_Forwarded_For="2001:db8:0:1::1") == 200
        for _ in range(3):
            await status(found, "/x")
        assert await status(found, "/gate") == 200


async def test_tokens_that_have_expired_are_no_attack(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    token = jwt.encode({"alg": "HS256"}, {"sub": "ann", "exp": 1}, OctKey.import_key(key))
    rule = {"handler": "respond", "path": "/jwt", "jwt": {"secret": key}}
    async with learning({"login": 1}, rule, tmp_path=tmp_path) as found:
        for _ in range(2):
            assert await status(found, "/jwt", Authorization=f"Bearer {token}") == 401
        assert await status(found, "/gate") == 200


async def test_a_reload_that_excepts_a_client_lifts_its_ban_and_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other = "127.0.0.8"
    networks = {name: {"learn": {"scan": 1}, "except": GOOD} for name in ("n", "m")}
    config = {
        "listen": ["http://127.0.0.1:0"], "store": str(tmp_path / "store"), "networks": networks,
        "dispatch": [GATE, STATUS, {"handler": "respond", "path": "/m", "deny": "m"}],
    }  # fmt: skip
    async with serve(config, shutdown_s=0.2) as server:
        found = Site(server)
        await status(found, "/x")
        await status(found, "/x", other)
        assert [await status(found, path, other) for path in ("/gate", "/m")] == [403, 403]
        config["listen"] = [found.url]
        config["networks"] = {"n": {"learn": {"scan": 1}, "except": [GOOD, BAD]}}
        config["dispatch"] = [GATE, STATUS]
        await server.reload(config)
        assert [await status(found, "/gate"), await status(found, "/gate", other)] == [200, 403]
        await until(lambda: is_now(bans(found), 1))
        assert f"{BAD} is no longer banned: it is excepted now (networks.n.except)" in caplog.messages
        names = [one["name"] for one in json.loads((await found.ask("/status?format=json")).body)["networks"]]
        assert names == ["n"]


async def test_the_oldest_bans_make_room_and_doubling_lengthens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(ban_service, "LOOK_S", 0.01)
    entry = {"max_bans": 2, "doubling": True, "for": "1h"}
    addresses = [f"127.0.1.{number}" for number in range(1, 5)]
    async with learning({"scan": 1}, tmp_path=tmp_path, entry=entry) as found:
        for address in addresses:
            await status(found, "/x", address)
        lifted = [one for one in caplog.messages if "to make room (networks.n.max_bans)" in one]
        assert [line.split()[0] for line in lifted] == addresses[:2]
        assert [await status(found, "/gate", address) for address in addresses] == [200, 200, 403, 403]
        context = found.server._single.data_plane.context
        context.wall_clock = lambda: time.time() + 3601
        assert await status(found, "/gate", addresses[3]) == 200
        await until(lambda: is_now(bans(found), 0))
        await status(found, "/x", addresses[3])
        assert f"{addresses[3]} is banned for 7200 s: scan (networks.n.learn.scan)" in caplog.messages
        assert f"{addresses[3]} is no longer banned: its time is over (networks.n.for)" in caplog.messages
