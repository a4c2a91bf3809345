"""The listening sockets of the program across reloads."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from npserver.address import parse_listen
from npserver.errors import StartError
from npserver.listen.listener import Listener
from npserver.process import bindings as module
from npserver.process.bindings import Bindings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT balances on Linux only")


def listener(port: int) -> Listener:
    uri = f"http://127.0.0.1:{port}"
    return Listener(uri, uri, parse_listen(uri), 64, "npserver.json:3:15")


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
