"""Connections made by one way to verify an upstream never serve requests that ask for another (TLS settings, names)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import npserver
from tests.protocols.proxying import Connection, Origin, get, ok
from tests.stage.programs import needs_localhost
from tests.stage.serving import forgiving

pytestmark = pytest.mark.filterwarnings("ignore")  # servers of the standard library say so when a client turns away


class TlsOrigin(Origin):
    """An upstream for `localhost` and `other.test`, signed by `ca`; asks for client certificates without insisting."""

    def __init__(self, ca: trustme.CA) -> None:
        super().__init__(self._tell)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        ca.issue_cert("localhost", "other.test").configure_cert(self.context)
        ca.configure_trust(self.context)

    async def open(self, port: int = 0) -> None:
        self.server = await asyncio.start_server(forgiving(self._accept), "127.0.0.1", port, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]

    @staticmethod
    async def _tell(connection: Connection) -> None:
        """Answer with the number of the connection, and the client certificate's name."""
        shown = connection.writer.get_extra_info("peercert")
        name = shown["subjectAltName"][0][1] if shown else "nobody"
        while await connection.head():
            await connection.send(ok(f"{connection.number} {name}".encode()))


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return `files(ca, *names)`: paths of a CA and of client certificates it issued."""

    def write(ca: trustme.CA, *names: str) -> dict[str, str]:
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        found = {"ca": str(tmp_path / "ca.pem")}
        for name in names:
            ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
            found[name] = str(tmp_path / f"{name}.pem")
        return found

    return write


def rules(origin: TlsOrigin, **tls: dict[str, Any]) -> dict[str, Any]:
    """A rule for each TLS setting, all for the same address; `/a` is the path of rule `a`."""
    proxy = {"handler": "proxy", "proxy_pass": f"https://localhost:{origin.port}"}
    return {
        "listen": [{"name": "in", "uri": "http://127.0.0.1:0"}],
        "dispatch": [{**proxy, "path": f"/{name}", "tls": settings} for name, settings in tls.items()],
    }


async def ask(server: npserver.Server, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses["in"].port)
    writer.write(get(path, "Connection: close\r\n"))
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    return int(head[9:12]), body.decode() if head[9:12] == b"200" else ""


@needs_localhost
async def test_unverified_connection_does_not_serve_who_verifies(files: Callable[..., dict[str, str]]) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    wrong = files(stranger)["ca"]
    async with TlsOrigin(authority) as origin:
        async with npserver.serve(rules(origin, open={"insecure": True}, closed={"ca": wrong})) as server:
            assert await ask(server, "/open") == (200, "0 nobody")
            assert await ask(server, "/closed") == (502, "")
            assert await ask(server, "/open") == (200, "0 nobody")
            assert await ask(server, "/closed") == (502, "")
        assert origin.seen.count(b"/closed") == 0, "not one byte of the request may have been sent"


@needs_localhost
async def test_each_name_is_verified_on_a_connection_of_its_own(files: Callable[..., dict[str, str]]) -> None:
    authority = trustme.CA()
    ca = files(authority)["ca"]
    async with TlsOrigin(authority) as origin:
        settings = {
            "own": {"ca": ca},
            "other": {"ca": ca, "server_name": "other.test"},
            "wrong": {"ca": ca, "server_name": "wrong.test"},
            "same": {"ca": ca},
        }
        async with npserver.serve(rules(origin, **settings)) as server:
            assert await ask(server, "/own") == (200, "0 nobody")
            assert await ask(server, "/other") == (200, "1 nobody")
            assert await ask(server, "/wrong") == (502, "")
            assert await ask(server, "/own") == (200, "0 nobody")
            assert await ask(server, "/same") == (200, "0 nobody"), "equal settings share"
        assert origin.seen.count(b"/wrong") == 0


@needs_localhost
async def test_client_certificates_are_not_borrowed(files: Callable[..., dict[str, str]]) -> None:
    authority = trustme.CA()
    found = files(authority, "alice.test", "bob.test")
    async with TlsOrigin(authority) as origin:
        settings = {
            name: {"ca": found["ca"], "cert": found[f"{name}.test"], "key": found[f"{name}.test"]}
            for name in ("alice", "bob")
        }
        async with npserver.serve(rules(origin, **settings, nobody={"ca": found["ca"]})) as server:
            for _ in range(2):
                assert await ask(server, "/alice") == (200, "0 alice.test")
                assert await ask(server, "/bob") == (200, "1 bob.test")
                assert await ask(server, "/nobody") == (200, "2 nobody")


@needs_localhost
async def test_reload_that_verifies_leaves_unverified_connections_behind(
    files: Callable[..., dict[str, str]], free_port: Callable[[], int]
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    async with TlsOrigin(authority) as origin:
        one = rules(origin, way={"insecure": True})
        one["listen"][0]["uri"] = f"http://127.0.0.1:{free_port()}"
        async with npserver.serve(one) as server:
            assert await ask(server, "/way") == (200, "0 nobody")
            one["dispatch"][0]["tls"] = {"ca": files(stranger)["ca"]}
            await server.reload(one)
            assert await ask(server, "/way") == (502, "")
            files(authority)  # other authorities under the same name
            await server.reload(one)
            assert await ask(server, "/way") == (200, "1 nobody")
            await server.reload(one)
            assert await ask(server, "/way") == (200, "1 nobody"), "what has not changed is kept"
            files(stranger)
            await server.reload(one)
            assert await ask(server, "/way") == (502, ""), "trusted no more, although a connection was open"


@needs_localhost
async def test_rule_with_its_own_settings_does_not_use_its_upstreams_pool(files: Callable[..., dict[str, str]]) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    wrong = files(stranger)["ca"]
    async with TlsOrigin(authority) as origin:
        one = rules(origin, plain={}, strict={"ca": wrong})
        one["upstreams"] = {"app": {"targets": [f"https://localhost:{origin.port}"], "tls": {"insecure": True}}}
        for rule in one["dispatch"]:
            rule["proxy_pass"] = "upstream://app"
        del one["dispatch"][0]["tls"]
        async with npserver.serve(one) as server:
            assert await ask(server, "/plain") == (200, "0 nobody")
            assert await ask(server, "/strict") == (502, "")
        assert origin.seen.count(b"/strict") == 0
