"""No client over QUIC leaves a reference cycle; as `tests/protocols/test_reference_cycles.py` for other clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.stage.doq import DoqClient
from tests.stage.http3 import Client
from tests.stage.uncollected import Uncollected

CLIENTS = 6
COUNTS = 6  # a closed connection answers stray packets for a while, one whose client is gone times out after a second


class QuicServers:
    """The server under test."""

    def __init__(self, loop: str, directory: Path) -> None:
        (directory / "public").mkdir()
        (directory / "public" / "small.html").write_text("small")
        (directory / "public" / "large.bin").write_bytes(bytes(4 << 20))
        config = {
            "listen": [
                {"name": "web", "uri": "https://127.0.0.1:0", "http3": True, "tls": "internal"},
                {"name": "doq", "uri": "quic://127.0.0.1:0", "tls": "internal"},
            ],
            "store": str(directory / "store"),
            "timeouts": {"idle": 1, "tls_handshake": 1},
            "logging": {"level": "error"},
            "dns": {"nas.home": {"A": "192.0.2.1"}},
            "dispatch": [
                {"listener": "doq", "handler": "dns"},
                {"listener": "web", "handler": "static", "root": str(directory / "public")},
            ],
        }
        self.server = Uncollected(loop, config)
        self.ports = self.server.ports

    def close(self) -> None:
        with self.server:
            pass


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuicServers]:
    made = QuicServers(request.param, tmp_path_factory.mktemp("cycles"))
    yield made
    made.close()


async def answered(client: Client) -> None:
    assert (await client.request("GET", "/small.html")).status == 200
    client.leave()


async def left_in_a_body(client: Client) -> None:
    _, answer = client.begin("GET", "/large.bin")
    await client.until(lambda: len(answer.body) > 100_000)
    client.leave()


async def gone(client: Client) -> None:
    assert (await client.request("GET", "/small.html")).status == 200


async def broken(client: Client) -> None:
    client.raw(0, b"\x01\x00", has_ended=True)  # an empty section
    await client.until(lambda: client.closed is not None)


async def asked(client: Client) -> None:
    assert isinstance(client, DoqClient)
    assert (await client.answered()).answer
    client.leave()


#: By name: the listener, the protocol that is offered, and what is done after the handshake.
KINDS: dict[str, tuple[str, str, Callable[[Client], Awaitable[None]]]] = {
    "answered": ("web", "h3", answered),
    "left in a body": ("web", "h3", left_in_a_body),
    "gone without a word": ("web", "h3", gone),
    "broken": ("web", "h3", broken),
    "asked over DoQ": ("doq", "doq", asked),
}


async def visit(port: int, protocol: str, act: Callable[[Client], Awaitable[None]]) -> None:
    client = DoqClient(port) if protocol == "doq" else Client(port)
    try:
        await client.connect()
        await act(client)
    finally:
        client.close()


async def refused(port: int) -> None:
    """Offer a protocol that is not spoken here."""
    client = Client(port, protocol="gopher")
    try:
        await client.connect()
        assert client.closed is not None
    finally:
        client.close()


async def silent(port: int) -> None:
    """Send the first packet alone."""
    client = Client(port)
    client.path_in.loss = 1.0
    client.quic.connect(client.server, asyncio.get_running_loop().time())
    client.send()
    client.close()


def visits_of(servers: QuicServers) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return what each kind of client does."""
    found: dict[str, Callable[[], Awaitable[None]]] = {
        kind: partial(visit, servers.ports[listener], protocol, act)
        for kind, (listener, protocol, act) in KINDS.items()
    }
    return {**found, **{one.__name__: partial(one, servers.ports["web"]) for one in (refused, silent)}}


def left_by(servers: QuicServers, *visits: Callable[[], Awaitable[None]]) -> set[str]:
    """Return the types of which each of some clients has left an object."""

    async def all_of_them() -> None:
        await asyncio.gather(*[one() for one in visits for _ in range(CLIENTS)])

    asyncio.run(all_of_them())
    found: Counter[str] = Counter()
    for _ in range(COUNTS):
        found += servers.server.count()
    return {name for name, number in found.items() if number >= CLIENTS}


def test_a_client_leaves_no_cycle(servers: QuicServers) -> None:
    """All kinds come at once; if any leaves something, one after another."""
    visits = visits_of(servers)
    if left_by(servers, *visits.values()):
        assert {kind: left for kind, one in visits.items() if (left := left_by(servers, one))} == {}
