"""The listening sockets of the program across reloads."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from npserver.address import QUIC, parse_listen
from npserver.errors import StartError
from npserver.listen.binding import bind
from npserver.listen.listener import Listener
from npserver.process import bindings as module
from npserver.process.bindings import Bindings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT balances on Linux only")


def listener(port: int) -> Listener:
    uri = f"http://127.0.0.1:{port}"
    return Listener(uri, uri, parse_listen(uri), 64, "npserver.json:3:15")


@pytest.mark.parametrize("taken", [0, 3, module.CHOICES])
def test_another_port_is_chosen_where_that_of_tcp_is_taken_for_udp(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """By any program that sends from it: HTTP/3 needs both, and the system chooses for TCP alone."""
    web = listener(0)
    udp = replace(web, key="udp", address=replace(web.address, scheme=QUIC), port_of=web.key)
    ports: list[int] = []
    end_with = ExitStack()

    def first_take(one: Listener, *rest: Any, **options: Any) -> Any:
        if one.key == "udp":
            ports.append(one.address.port)
            if len(ports) <= taken:
                other = end_with.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                with suppress(OSError):  # it is taken already
                    other.bind(("127.0.0.1", one.address.port))
        return bind(one, *rest, **options)

    monkeypatch.setattr(module, "bind", first_take)
    with end_with:
        bindings = Bindings(1)
        if taken == module.CHOICES:
            with pytest.raises(StartError, match=r"UDP port [0-9]+ is in use"):
                bindings.prepare([web, udp])
        else:
            bindings.commit(bindings.prepare([web, udp]), [web, udp])
            assert {one.getsockname()[1] for key in ("udp", web.key) for one in bindings.sockets(0)[key]} == {ports[-1]}
            bindings.close()
    assert len(ports) >= min(taken + 1, module.CHOICES)


def test_a_removed_port_comes_back_while_a_worker_takes_its_last_clients(free_port: Callable[[], int]) -> None:
    """Two reloads shortly after one another: the socket's other holder, a worker, has not let go of it yet."""
    bindings = Bindings(1)
    one = listener(free_port())
    bindings.commit(bindings.prepare([one]), [one])
    with bindings.sockets(0)[one.key][0].dup():
        bindings.commit({}, [])
        bindings.commit(bindings.prepare([one]), [one])
        assert bindings.sockets(0)[one.key][0].fileno() >= 0
    bindings.close()


def test_a_removed_socket_is_kept_only_for_a_while(
    free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later on whoever holds the port is told of."""
    monkeypatch.setattr(module, "RELEASE_WITHIN_S", 0.0)
    bindings = Bindings(1)
    one = listener(free_port())
    bindings.commit(bindings.prepare([one]), [one])
    with bindings.sockets(0)[one.key][0].dup():
        bindings.commit({}, [])
        with pytest.raises(StartError, match="in use"):
            bindings.prepare([one])


@pytest.mark.parametrize("is_unix", [False, True])
@pytest.mark.parametrize("is_used", [False, True])
def test_a_listener_of_a_reload_takes_nobody_before_it_is_committed(
    free_port: Callable[[], int], socket_dir: Path, is_unix: bool, is_used: bool
) -> None:
    """Clients that connect to one of a config that is then abandoned would be reset."""
    bindings, old = Bindings(2), listener(free_port())
    bindings.commit(bindings.prepare([old]), [old])
    uri = f"unix://{socket_dir}/a" if is_unix else f"http://127.0.0.1:{free_port()}"
    new = Listener(uri, uri, parse_listen(uri), 64, "npserver.json:4:15")
    place = new.address.path if is_unix else ("127.0.0.1", new.address.port)

    def connect() -> None:
        with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as client:
            client.settimeout(30)
            client.connect(place)

    prepared = bindings.prepare([old, new])
    with pytest.raises(ConnectionRefusedError):
        connect()
    if is_used:
        assert bindings.commit(prepared, [old, new]) == []
        connect()
    else:
        bindings.abandon(prepared)
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            connect()
    bindings.close()
