"""Each client's datagrams come to the same socket, while sockets for single clients join and leave those of a listener.

Covers `listen.kept_clients`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from npserver.address import parse_listen
from npserver.listen import client_steering, kept_clients
from npserver.listen.binding import Binding, bind
from npserver.listen.inet_sockets import widen
from npserver.listen.listener import Listener

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such programs")

FORMS = pytest.mark.parametrize(
    ("host", "client_of"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1"), ("[::1]", "::1")],
)
CLIENTS, KEPT = 60, 12


def listener(host: str, port: int = 0) -> Listener:
    uri = f"udp://{host}:{port}"
    return Listener(uri, "game", parse_listen(uri), 64, "npserver.json:3:15")


class Clients:
    """Clients of a listener, which ask all at once."""

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(CLIENTS)]
        for one in self.sockets:
            one.connect(address)

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    def reached(self, servers: Sequence[socket.socket]) -> list[int | None]:
        """Return, for each client, which of the server's sockets gets what it sends."""
        found: dict[int, int] = {}
        for one in self.sockets:
            one.send(b"x")
        for number, one in enumerate(servers):
            try:
                while True:
                    found[one.recvfrom(8)[1][1]] = number
            except BlockingIOError:
                pass
        return [found.get(one.getsockname()[1]) for one in self.sockets]


@pytest.fixture
def opened() -> Iterator[Callable[[str, str, int], tuple[Binding, Clients]]]:
    closing: list[Binding | Clients] = []

    def make(host: str, client_of: str, workers: int) -> tuple[Binding, Clients]:
        made = bind(listener(host), workers)
        family = socket.AF_INET6 if ":" in client_of else socket.AF_INET
        clients = Clients(family, (client_of, made.addresses[0].port))
        closing.extend((made, clients))
        return made, clients

    yield make
    for one in closing:
        one.close()


@FORMS
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_nobody_else_notices_that_clients_get_sockets(
    opened: Callable[[str, str, int], tuple[Binding, Clients]],
    host: str,
    client_of: str,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, clients = opened(host, client_of, workers)
    shared = [group[0] for group in made.sockets]
    before = clients.reached(shared)
    assert None not in before
    assert len(set(before)) == workers
    kept: list[socket.socket] = []

    class Watched(socket.socket):
        """Before it is connected, it is asked who reaches it."""

        def connect(self, address: object) -> None:
            self.setblocking(False)
            assert clients.reached([*shared, *kept, self])[len(kept) :] == before[len(kept) :]
            super().connect(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Watched)
    for number in range(KEPT):
        client = clients.sockets[number].getsockname()
        if shared[0].family != clients.sockets[0].family:
            client = (f"::ffff:{client[0]}", client[1], 0, 0)
        kept.append(kept_clients._connect(shared[0], (client_of, made.addresses[0].port), client))
        now = clients.reached([*shared, *kept])
        assert now[number + 1 :] == before[number + 1 :]
        assert now[: number + 1] == [workers + one for one in range(number + 1)]
    for one in kept:
        one.close()
    assert clients.reached(shared) == before


@FORMS
def test_sockets_of_more_workers_take_part_once_they_are_owned(
    opened: Callable[[str, str, int], tuple[Binding, Clients]], host: str, client_of: str
) -> None:
    made, clients = opened(host, client_of, 2)
    shared = [group[0] for group in made.sockets]
    before = clients.reached(shared)
    wider = Binding(made.listener, widen(made.listener, made.sockets, 4), is_borrowed=True, steered=made.steered)
    all_of_them = [group[0] for group in wider.sockets]
    assert clients.reached(all_of_them) == before
    wider.own()
    assert set(clients.reached(all_of_them)) == {0, 1, 2, 3}
    assert wider.is_borrowed is False
    assert wider.steered == (4 if client_steering._linux_version() >= (6, 13) else 0)
    wider.close()


@pytest.mark.parametrize("version", [(6, 1), client_steering._linux_version()])
def test_they_do_at_each_address_of_a_listener(
    opened: Callable[[str, str, int], tuple[Binding, Clients]],
    version: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Linux 6.13 the kernel chooses among all afterwards, whichever address was looked at first."""
    monkeypatch.setattr(client_steering, "_linux_version", lambda: version)
    ipv4, ipv6 = opened("127.0.0.1", "127.0.0.1", 2), opened("[::1]", "::1", 2)
    columns = [[group[0] for group in widen(made.listener, made.sockets, 4)] for made, _ in (ipv4, ipv6)]
    wider = Binding(ipv4[0].listener, list(zip(*columns, strict=True)), is_borrowed=True, steered=2)
    wider.own()
    for column, (_, clients) in zip(columns, (ipv4, ipv6), strict=True):
        assert set(clients.reached(column)) == {0, 1, 2, 3}
    wider.close()


def test_a_system_without_such_programs(
    opened: Callable[..., tuple[Binding, Clients]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(socket.socket):
        def setsockopt(self, *arguments: object) -> None:  # type: ignore[override]
            if arguments[1] == 51:
                raise OSError(92, "Protocol not available")
            super().setsockopt(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "socket", Refusing)
    made, clients = opened("127.0.0.1", "127.0.0.1", 2)
    assert made.steered == 0
    assert set(clients.reached([group[0] for group in made.sockets])) == {0, 1}
