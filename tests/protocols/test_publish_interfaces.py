"""Published addresses follow the interfaces of the machine, whose list is the test's: another prefix, another network.

The name server is a real one, in this process. Covers `nameserver.publish.service` and `nameserver.publish.following`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

import npserver
from npserver.nameserver.publish import addresses, service
from npserver.nameserver.publish.state import STATE
from npserver.runtime.interfaces import InterfaceAddress
from npserver.tls.acme.answering.answers import ANSWERS, Answers
from tests.stage.serving import forgiving

RULES = [
    {"handler": "respond", "listener": "web", "host": ["photos.example.com", "nas.home"], "publish": True},
    {"handler": "dns", "listener": "dns"},
]


class Machine:
    """The addresses of its interfaces. `found` may be replaced at any time."""

    def __init__(self, *found: str) -> None:
        self.found = found

    def look(self) -> list[InterfaceAddress]:
        return [InterfaceAddress(ip_address(one.rstrip("-")), is_deprecated=one.endswith("-")) for one in self.found]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine("127.0.0.1", "192.168.1.7", "2a00:1::7")
    monkeypatch.setattr(addresses, "interface_addresses", one.look)
    monkeypatch.setattr(addresses, "routed_addresses", list)
    monkeypatch.setattr(service, "LOOK_S", 0.01)
    return one


class Questions:
    """Questions to the name server at a port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, name: str, rtype: str) -> list[str]:
        """Return the data of the records, or the rcode if there are none."""
        reply = await dns.asyncquery.udp(dns.message.make_query(name, rtype), "127.0.0.1", 10, self._port)
        return [str(one) for one in reply.answer[0]] if reply.answer else [dns.rcode.to_text(reply.rcode())]

    async def wait(self, name: str, rtype: str, *expected: str) -> None:
        """Wait until the answer is as expected."""
        async with asyncio.timeout(30):
            while await self.ask(name, rtype) != list(expected):
                await asyncio.sleep(0.01)


def config(directory: Path, **parts: Any) -> dict[str, Any]:
    return {
        "store": str(directory / "store"),
        "listen": [{"name": "web", "uri": "http://:0"}, {"name": "dns", "uri": "udp://127.0.0.1:0"}],
        "dns_zones": ["example.com", "home"],
        "dispatch": RULES,
        **parts,
    }


@asynccontextmanager
async def serving(directory: Path, **parts: Any) -> AsyncIterator[tuple[npserver.Server, Questions]]:
    async with npserver.serve(config(directory, **parts), shutdown_s=0) as server:
        yield server, Questions(server.addresses["dns"].port)


async def test_another_prefix_of_the_provider_is_published(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path) as (_, questions):
        await questions.wait("photos.example.com", "AAAA", "2a00:1::7")
        machine.found = ("127.0.0.1", "192.168.1.7", "2a00:1::7-", "2a00:2::7")
        await questions.wait("photos.example.com", "AAAA", "2a00:2::7")
        machine.found = ("127.0.0.1",)  # the cable is out
        await questions.wait("nas.home", "A", "NOERROR")  # and that has been seen
        await questions.wait("photos.example.com", "AAAA", "2a00:2::7")


async def test_another_network_is_published_to_its_clients(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path, public_address="9.9.9.9") as (_, questions):
        await questions.wait("nas.home", "A", "192.168.1.7")
        machine.found = ("127.0.0.1", "10.0.0.7")
        await questions.wait("nas.home", "A", "10.0.0.7")
        await questions.wait("photos.example.com", "A", "9.9.9.9")


async def test_the_answer_to_a_challenge_stays_over_a_change(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path) as (server, questions):
        answers = ANSWERS.of(server._single.data_plane.context)
        await answers.publish(Answers(dns={"_acme-challenge.photos.example.com": ["text"]}), 30)
        await questions.wait("_acme-challenge.photos.example.com", "TXT", '"text"')
        machine.found = ("127.0.0.1", "10.0.0.7", "2a00:2::7")
        await questions.wait("photos.example.com", "AAAA", "2a00:2::7")
        assert await questions.ask("_acme-challenge.photos.example.com", "TXT") == ['"text"']
        await answers.publish(Answers(), 30)
        assert await questions.ask("_acme-challenge.photos.example.com", "TXT") == ["NXDOMAIN"]


async def test_a_reload_takes_what_is_known(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path) as (server, questions):
        await questions.wait("photos.example.com", "AAAA", "2a00:1::7")
        since = await known_since(server)
        rules = [{**RULES[0], "host": "www.example.com"}, RULES[1]]
        await server.reload(config(tmp_path, dns_zones=["example.com"], dispatch=rules))
        await questions.wait("www.example.com", "AAAA", "2a00:1::7")
        await questions.wait("photos.example.com", "AAAA", "NXDOMAIN")
        assert await known_since(server) == since


async def test_in_another_network_the_public_address_is_asked_for_at_once(tmp_path: Path, machine: Machine) -> None:
    machine.found = ("127.0.0.1", "192.168.1.7")
    answers = [b"8.8.8.8", b"9.9.9.9"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + answers.pop())

    async with await asyncio.start_server(forgiving(serve), "127.0.0.1", 0) as oracle:
        url = f"http://127.0.0.1:{oracle.sockets[0].getsockname()[1]}/"
        async with serving(tmp_path, public_address={"ask": url, "interval": "1d"}) as (_, questions):
            await questions.wait("photos.example.com", "A", "9.9.9.9")
            machine.found = ("127.0.0.1", "10.0.0.7")
            await questions.wait("photos.example.com", "A", "8.8.8.8")


async def known_since(server: npserver.Server) -> list[float]:
    """Return the times since when the public addresses are known, once the controller has told of them."""
    state = STATE.of(server._single.data_plane.context)
    async with asyncio.timeout(30):
        while state.value is None:
            await asyncio.sleep(0.01)
    return [one.since for one in state.value.public]


async def test_a_store_that_cannot_be_written_is_told_of_once(
    tmp_path: Path, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "store" / "dns").touch()  # where a folder has to be
    async with serving(tmp_path) as (_, questions):
        await questions.wait("photos.example.com", "AAAA", "2a00:1::7")
        machine.found = ("127.0.0.1", "2a00:2::7")
        await questions.wait("photos.example.com", "AAAA", "2a00:2::7")
        machine.found = ("127.0.0.1", "2a00:3::7")
        await questions.wait("photos.example.com", "AAAA", "2a00:3::7")
        told = [one.getMessage() for one in caplog.records if "not kept over a restart (store)" in one.getMessage()]
        assert len(told) == 1
        (tmp_path / "store" / "dns").unlink()
        async with asyncio.timeout(30):
            while not (tmp_path / "store" / "dns" / "published").exists():
                await asyncio.sleep(0.01)
