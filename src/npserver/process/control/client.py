"""Asking the running server over its control socket: used by the commands of `npserver` that need one."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from npserver.process.control.places import places
from npserver.process.control.protocol import MAX_ANSWER_BYTES, Answer, Request, encode, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWER_WITHIN_S = 70.0  # more than both steps of a reload take at most


def ask(config_file: str, command: str, *, within_s: float | None = ANSWER_WITHIN_S, **arguments: Any) -> Answer:
    """Run a command in the server that runs with a config file. Return its answer.

    `within_s`: time for the answer; None: as long as the server runs. Raises: OSError when no server answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(within_s)
        _connect(caller, places(config_file))
        data = bytearray()
        answered_already = contextlib.suppress(ConnectionResetError, BrokenPipeError)  # without reading the request
        with answered_already:
            caller.sendall(encode(Request(command, arguments)))
        with answered_already:
            while len(data) <= MAX_ANSWER_BYTES and (part := caller.recv(65_536)):
                data += part
        return read_answer(bytes(data))


def _connect(caller: socket.socket, paths: Iterable[str]) -> None:
    """Connect to the first socket that is answered. Raises: OSError of the last."""
    fault = OSError("no place for a control socket")
    for path in paths:
        try:
            caller.connect(path)
        except OSError as error:
            fault = error
        else:
            return
    raise fault


def no_server(command: str, config_file: str) -> str:
    """Return the message for a config with which no server runs."""
    return (
        f"npserver {command}: no running server uses the config {config_file}: start it, or name its config file with "
        "-config"
    )
