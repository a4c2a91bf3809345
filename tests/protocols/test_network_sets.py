"""Networks from files, URLs and databases in a running server: what changes, and what does not.

Covers `network_sets.service`, `network_sets.sets`, `network_sets.states`, `network_sets.stored`, `sources.following`,
`sources.states` and `web.handlers.status.data_states`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest

from npserver.sources import following
from tests.stage.countries import country, write_countries
from tests.stage.serving import forgiving
from tests.stage.site import Site, site

RULES = [
    {"handler": "status", "path": "/status"},
    {"handler": "respond", "path": "/gate", "body": "open", "deny": "n"},
    {"handler": "respond", "body": "in", "from": "n"},
    {"handler": "respond", "body": "out"},
]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0.02)
    monkeypatch.setattr(following, "AGAIN_S", 0.02)


@asynccontextmanager
async def running(entry: dict[str, Any], store: Path | None = None) -> AsyncIterator[Site]:
    more = {"store": str(store)} if store is not None else {}
    async with site(*RULES, networks={"n": entry}, **more) as found:
        yield found


async def ask(site: Site, path: str = "/", address: str = "127.0.0.1") -> bytes:
    """Ask from an address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, local_addr=(address, 0))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2] if answer.startswith(b"HTTP/1.1 200") else answer[9:12]


async def state(site: Site) -> dict[str, Any]:
    (found,) = json.loads(await ask(site, "/status?format=json"))["networks"]
    return dict(found)


async def until(site: Site, expected: bytes, address: str = "127.0.0.1") -> None:
    async with asyncio.timeout(30):
        while await ask(site, "/", address) != expected:
            await asyncio.sleep(0.01)


async def until_error(site: Site, part: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while part not in ((found := await state(site))["error"] or ""):
            await asyncio.sleep(0.01)
    return found


class Lists:
    """A web server whose answer can be changed."""

    def __init__(self) -> None:
        self.answer = b""
        self.count = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.count += 1
        writer.write(self.answer)

    def say(self, body: str, status: int = 200) -> None:
        self.answer = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture
async def lists() -> AsyncIterator[Lists]:
    found = Lists()
    server = await asyncio.start_server(forgiving(found.serve), "127.0.0.1", 0)
    async with server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ips?token=secret"
        yield found


async def test_a_file_that_changes_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("127.0.0.2\n")
    async with running({"file": str(path)}) as found:
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"out", b"in"]
        assert [await ask(found, "/gate"), await ask(found, "/gate", "127.0.0.2")] == [b"open", b"403"]
        path.write_text("127.0.0.1\n127.0.0.3 # more\n")
        await until(found, b"in")
        assert [await ask(found, "/", "127.0.0.2"), await ask(found, "/gate")] == [b"out", b"403"]
        assert ((await state(found))["size"], (await state(found))["error"]) == (2, None)
        for content, reason in (
            ("", "has no networks"),
            ("127.0.0.1\nx\n", "line 2"),
            ("0.0.0.0/0\n", "every address"),
        ):
            path.write_text(content)
            assert (await until_error(found, reason))["size"] == 2
            assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"in", b"out"]
        path.unlink()
        await until_error(found, "cannot read")
        assert await ask(found) == b"in"
        path.write_text("127.0.0.2\n")
        await until(found, b"in", "127.0.0.2")
        assert (await state(found))["error"] is None


async def test_a_database_that_changes_is_used(tmp_path: Path) -> None:
    path = tmp_path / "c.mmdb"
    write_countries(path, {"127.0.0.1/32": country("DE"), "127.0.0.2/32": country("AT")})
    async with running({"mmdb": str(path), "country": ["DE", "CH"]}) as found:
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"in", b"out"]
        write_countries(path, {"127.0.0.1/32": country("AT"), "127.0.0.2/32": country("CH")})
        await until(found, b"in", "127.0.0.2")
        assert await ask(found) == b"out"
        path.write_bytes(path.read_bytes()[:500])
        await until_error(found, "not a database")
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"out", b"in"]


async def test_two_names_choose_from_one_database(tmp_path: Path) -> None:
    path = tmp_path / "c.mmdb"
    write_countries(path, {"127.0.0.1/32": country("DE"), "127.0.0.2/32": country("AT")})
    networks = {code: {"mmdb": str(path), "country": [code.upper()]} for code in ("de", "at")}
    rules = [{"handler": "respond", "body": code, "from": code} for code in networks]
    async with site(*rules, networks=networks) as found:
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"de", b"at"]
        write_countries(path, {"127.0.0.1/32": country("AT"), "127.0.0.2/32": country("DE")})
        await until(found, b"at")
        await until(found, b"de", "127.0.0.2")


async def test_a_list_at_a_url_is_fetched_again_and_a_bad_answer_changes_nothing(tmp_path: Path, lists: Lists) -> None:
    lists.say("127.0.0.1\n")
    entry = {"url": lists.url, "refresh": 1, "timeout": 5}
    async with running(entry, tmp_path / "store") as found:
        await until(found, b"in")
        for body, status, reason in (("127.0.0.2\n", 500, "status 500"), ("<html>", 200, "line 1")):
            lists.say(body, status)
            assert (await until_error(found, reason))["size"] == 1
            assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"in", b"out"]
        lists.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n127.0.0.2\n"
        await until_error(found, "ends in the middle")
        lists.say("127.0.0.2\n")
        await until(found, b"in", "127.0.0.2")
        shown = await state(found)
        assert (shown["error"], shown["source"]) == (None, lists.url.partition("/ips")[0])
        text = (await ask(found, "/status?format=prometheus")).decode()
        assert 'npserver_networks_size{name="n"} 1' in text
        assert 'npserver_networks_failed{name="n"} 0' in text
        page = (await ask(found, "/status?format=html")).decode()
        assert "<h2>Networks</h2>" in page
        assert "secret" not in text + page
    lists.say("", 500)
    async with running(entry, tmp_path / "store") as found:  # the last good one is known before the first answer
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"out", b"in"]


async def test_a_store_that_takes_no_list_is_told_with_its_key(
    tmp_path: Path, lists: Lists, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store").mkdir(0o700)
    (tmp_path / "store" / "networks").write_bytes(b"a file where a directory would be")
    lists.say("127.0.0.1\n")
    async with running({"url": lists.url}, tmp_path / "store") as found:
        await until(found, b"in")
    (told,) = [one.getMessage() for one in caplog.records if "over a restart" in one.getMessage()]
    assert told.startswith("networks.n: the list cannot be kept over a restart: ")
    assert told.count("(store)") == 1


async def test_without_a_first_answer_no_address_is_in_a_list(tmp_path: Path, lists: Lists) -> None:
    lists.say("x")
    async with running({"url": lists.url}, tmp_path / "store") as found:
        assert (await until_error(found, "line 1"))["date"] is None
        assert await ask(found) == b"out"
        lists.say("127.0.0.1")
        await until(found, b"in")


async def test_they_count_for_proxies_and_forwards_too(tmp_path: Path, free_port: Callable[[], int]) -> None:
    path, relay = tmp_path / "list", free_port()
    port = free_port()
    path.write_text("192.0.2.1\n")
    config = {
        "listen": [f"http://127.0.0.1:{port}", f"tcp://127.0.0.1:{relay}"],
        "networks": {"n": {"file": str(path)}},
        "trusted_proxies": ["n", "192.0.2.9"],
    }
    rules = [
        {"handler": "respond", "body": "$client_ip"},
        {"handler": "forward", "from": "n", "forward_to": f"tcp://127.0.0.1:{port}"},
    ]
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n"

    async def told(port: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head)
            async with asyncio.timeout(30):
                return (await reader.read()).decode().rpartition("\r\n\r\n")[2]
        except ConnectionError:
            return "closed"
        finally:
            writer.close()

    async with site(*rules, **config):
        assert await told(port) == "127.0.0.1"
        assert await told(relay) in ("", "closed")  # no rule for the client
        path.write_text("127.0.0.1\n")
        async with asyncio.timeout(30):
            while await told(port) != "198.51.100.1":
                await asyncio.sleep(0.01)
        assert await told(relay) == "198.51.100.1"


async def test_they_count_for_views_and_the_proxy_protocol_too(tmp_path: Path, free_port: Callable[[], int]) -> None:
    path, name_server = tmp_path / "list", free_port()
    path.write_text("192.0.2.1\n")
    config = {
        "listen": [{"uri": "http://127.0.0.1:0", "accept_proxy": "n"}, f"udp://127.0.0.1:{name_server}"],
        "networks": {"n": {"file": str(path)}},
        "dns": {"a.test": {"A": "192.0.2.10"}},
        "dns_views": [{"from": "n", "dns": {"a.test": {"A": "10.0.0.10"}}}],
    }
    rules = [
        {"handler": "respond", "body": "$client_ip"},
        {"handler": "dns", "listener": f"udp://127.0.0.1:{name_server}"},
    ]

    async def resolved() -> str:
        query = dns.message.make_query("a.test", "A")
        reply = await dns.asyncquery.udp(query, "127.0.0.1", 10, name_server)
        return str(reply.answer[0][0])

    async with site(*rules, **config) as found:

        async def told() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
            writer.write(b"PROXY TCP4 198.51.100.1 192.0.2.2 1 80\r\nGET / HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(30):
                answer = await reader.read()
            writer.close()
            return answer.rpartition(b"\r\n\r\n")[2]

        assert await resolved() == "192.0.2.10"
        assert await told() != b"198.51.100.1"
        path.write_text("127.0.0.1\n")
        async with asyncio.timeout(30):
            while await resolved() != "10.0.0.10":
                await asyncio.sleep(0.01)
        assert await told() == b"198.51.100.1"


async def test_a_reload_replaces_the_source_and_forgets_the_old_one(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("127.0.0.1\n")
    other.write_text("127.0.0.2\n")
    async with running({"file": str(one)}) as found:
        assert await ask(found) == b"in"
        listen = [f"http://127.0.0.1:{found.port}"]
        await found.server.reload({"listen": listen, "networks": {"n": {"file": str(other)}}, "dispatch": RULES})
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"out", b"in"]
        one.write_text("127.0.0.1\n127.0.0.2\n")
        await found.server.reload({"listen": listen, "networks": {"n": ["127.0.0.1"]}, "dispatch": RULES})
        assert [await ask(found), await ask(found, "/", "127.0.0.2")] == [b"in", b"out"]
        async with asyncio.timeout(30):
            while json.loads(await ask(found, "/status?format=json"))["networks"]:
                await asyncio.sleep(0.01)
