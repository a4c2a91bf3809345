"""The protocol of the control socket: a caller sends one request, gets one answer, and the connection ends.

Both are a line of JSON. The request is `{"command": "ban", "arguments": {"address": "192.0.2.7"}}`, the answer
`{"errors": [], "result": ...}`; `errors` say why the command was not carried out. An answer may take its time: that to
`reload` comes when all processes have switched. Only the user of the server and root can connect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from npserver import __version__
from npserver.errors import clip

MAX_REQUEST_BYTES = 4096
MAX_ANSWER_BYTES = 16 << 20
log = logging.getLogger("npserver.server")

STOPPING = "the server is stopping"
_UNKNOWN_TO_LINES = "unknown request on the control socket"  # the answer of servers from before requests in JSON


class Request(Struct, frozen=True):
    """A command and what it needs to know, by name."""

    command: str
    arguments: dict[str, Any] = {}


class Answer(Struct, frozen=True):
    """Why a command was not carried out, or what became of it."""

    errors: list[str] = []
    result: Any = None


Reply = Callable[[Answer], None]  # to be called once
Commands = Mapping[str, Callable[[Request, Reply], None]]  # by name


def encode(message: Request | Answer) -> bytes:
    """Return the line of a request or an answer."""
    return msgspec.json.encode(message) + b"\n"


def run_request(line: bytes, commands: Commands, reply: Reply, *, is_stopping: bool = False) -> None:
    """Run the command of a request. A server that is stopping runs only `stop`."""
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError):
        reply(Answer([f"expected a request in JSON, got {clip(line.decode(errors='replace').strip())}"]))
        return
    run = commands.get(request.command)
    if run is None:
        known = ", ".join(sorted(commands))
        reply(Answer([f"{clip(request.command)} is not known to the running npserver {__version__}: it has {known}"]))
    elif is_stopping and request.command != "stop":
        reply(Answer([STOPPING]))
    else:
        try:
            run(request, reply)
        except Exception:  # it must not end the master
            log.exception("internal error in the command %s", clip(request.command))
            reply(Answer(["internal error: the server's log has it"]))


def read_answer(data: bytes) -> Answer:
    """Return the answer that a server has sent; b"": it has closed the connection without one."""
    if not data:
        return Answer([STOPPING])
    try:
        answer = msgspec.json.decode(data, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer([f"the server's answer cannot be read: {clip(data.decode(errors='replace'))}"])
    if answer.errors == [_UNKNOWN_TO_LINES]:
        return Answer(["the running server is an older npserver: restart it, to have it take commands of this one"])
    return answer
