"""The listening sockets of the program across reloads."""

from __future__ import annotations

import sys
from collections.abc import Callable

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
