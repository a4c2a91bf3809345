"""How the sockets of a listener share an address.

`test_client_steering` shows which of them a client reaches, `test_binding` the rest.
"""

from __future__ import annotations

import socket
import sys

import pytest

from npserver.address import parse_listen
from npserver.errors import StartError
from npserver.listen.binding import bind
from npserver.listen.listener import Listener

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux balances between sockets")


def listener(host: str, port: int = 0) -> Listener:
    uri = f"udp://{host}:{port}"
    return Listener(uri, "game", parse_listen(uri), 64, "npserver.json:3:15")


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1"), ("[::1]", "::1")],
)
def test_a_port_in_use_is_an_error(host: str, address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((address, 0))
        with pytest.raises(StartError, match="is in use"):
            bind(listener(host, other.getsockname()[1]), 2)


def test_sockets_beside_those_that_a_reload_has_removed() -> None:
    """Their number is not known then: the kernel chooses among all."""
    made = bind(listener("127.0.0.1"), 2)
    port = made.addresses[0].port
    again = bind(listener("127.0.0.1", port), 2, own_ports={port})
    elsewhere = bind(listener("127.0.0.2", port), 2, own_ports={port})
    assert (made.steered, again.steered, elsewhere.steered) == (2, 0, 2)
    for one in (made, again, elsewhere):
        one.close()
