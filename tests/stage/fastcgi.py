"""A FastCGI server of the tests: records read and written by a codec of its own, after the specification."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.protocols.proxying import Connection, Script

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR = range(1, 8)


def record(kind: int, content: bytes = b"", *, request: int = 1, padding: int = 0, version: int = 1) -> bytes:
    return struct.pack(">BBHHBB", version, kind, request, len(content), padding, 0) + content + b"\xff" * padding


def end(status: int = 0, protocol_status: int = 0) -> bytes:
    return record(END, struct.pack(">IB3x", status, protocol_status))


def page(body: bytes = b"ok", fields: bytes = b"Content-Type: text/plain\r\n") -> bytes:
    """A whole response, as PHP sends it."""
    return record(STDOUT, fields + b"\r\n" + body) + end()


def records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The type, request id and content of all records in `data`, which must hold whole ones."""
    while data:
        version, kind, request, length, padding, _ = struct.unpack(">BBHHBB", data[:8])
        assert version == 1
        assert len(data) >= 8 + length + padding
        yield kind, request, data[8 : 8 + length]
        data = data[8 + length + padding :]


def pairs(data: bytes) -> dict[bytes, bytes]:
    """The names and values in the content of PARAMS."""
    found: dict[bytes, bytes] = {}
    while data:
        sizes = []
        for _ in range(2):
            if data[0] < 128:
                sizes.append(data[0])
                data = data[1:]
            else:
                sizes.append(struct.unpack(">I", data[:4])[0] & 0x7FFFFFFF)
                data = data[4:]
        name, value, data = data[: sizes[0]], data[sizes[0] : sum(sizes)], data[sum(sizes) :]
        assert len(name) == sizes[0] and len(value) == sizes[1]
        assert name not in found, f"{name!r} comes twice"
        found[name] = value
    return found


@dataclass
class Asked:
    """A request as the server got it."""

    is_kept: bool = False
    params: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    param_records: list[bytes] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.params[name.encode()].decode("utf-8", "surrogateescape")


async def read_record(connection: Connection) -> tuple[int, bytes]:
    head = await connection.exactly(8)
    version, kind, request, length, padding, _ = struct.unpack(">BBHHBB", head)
    assert (version, request) == (1, 1)
    content = await connection.exactly(length)
    await connection.exactly(padding)
    return kind, content


async def read_params(connection: Connection) -> Asked:
    """Read a request up to its body."""
    asked = Asked()
    kind, content = await read_record(connection)
    assert kind == BEGIN
    role, flags = struct.unpack(">HB5x", content)
    assert role == 1
    asked.is_kept = flags == 1
    while True:
        kind, content = await read_record(connection)
        assert kind == PARAMS
        if not content:
            break
        asked.param_records.append(content)
    asked.params = pairs(b"".join(asked.param_records))
    return asked


async def read_request(connection: Connection) -> Asked:
    """Read a whole request."""
    asked = await read_params(connection)
    while True:
        kind, content = await read_record(connection)
        assert kind == STDIN
        if not content:
            return asked
        asked.body += content


def serving(*answers: bytes, asked: list[Asked] | None = None) -> Script:
    """Answer each request with the next answer, the last one repeatedly; close after it if it is not to be kept."""

    async def script(connection: Connection) -> None:
        turn = 0
        while True:
            one = await read_request(connection)
            if asked is not None:
                asked.append(one)
            await connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if not one.is_kept:
                return

    return script


def once(act: Callable[[Connection, Asked], Awaitable[None]]) -> Script:
    """Read one request, and let `act` do the rest."""

    async def script(connection: Connection) -> None:
        await act(connection, await read_request(connection))

    return script
