"""The control socket as the master or the single process serves it: accepts callers, and answers their requests.

Nothing that a caller does, or does not do, makes the process wait: requests are read and answers written as they come.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from npserver.process.control import places
from npserver.process.control.protocol import MAX_REQUEST_BYTES, Answer, Commands, encode, run_request

MAX_CALLERS = 64  # at a time; those beyond are refused
TOO_MANY = f"{MAX_CALLERS} commands are in progress already: try again"
WITHIN_S = 5.0  # for a caller to send its request, and to take the answer
NEVER = float("inf")


class Selector(Protocol):
    """The part of `selectors.BaseSelector` that is used: the data of a registration is called with the event mask."""

    def register(self, fileobj: socket.socket, events: int, data: Callable[[int], None]) -> object:
        """Call `data` when one of the events occurs."""

    def unregister(self, fileobj: socket.socket) -> object:
        """End it."""


class _Caller:
    """A connection to the control socket."""

    __slots__ = ("deadline", "received", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = time.monotonic() + WITHIN_S
        self.received = b""
        self.unsent = b""  # of the answer


class ControlServer:
    """The control sockets of a server and its callers. It can be watched by a `Sweeper`, for their deadlines."""

    __slots__ = ("_callers", "_commands", "_derived", "_placed", "_placed_path", "_selector", "deadline", "is_stopping")

    def __init__(self, selector: Selector, commands: Commands) -> None:
        self._commands = commands
        self._selector = selector
        self._derived: socket.socket | None = None  # at the path that the config file's name gives
        self._placed: socket.socket | None = None  # at the path of the key `control`
        self._placed_path = ""
        self._callers: set[_Caller] = set()
        self.deadline = 0.0  # always passed: a sweeper calls `expire` at each sweep
        self.is_stopping = False  # whether requests are refused

    def __repr__(self) -> str:
        return f"<ControlServer callers={len(self._callers)}>"

    def open(self, config_file: str, placed: str, handed: Mapping[str, socket.socket] | None = None) -> None:
        """Listen at the place for a config file and, unless it is "", at `placed`. What fails is logged.

        `handed`: sockets, by path, of a server that this one succeeds: they are used instead of others, or closed.
        """
        handed = dict(handed or {})
        self._derived = handed.pop(places.control_path(config_file), None) or places.open_control(config_file)
        if placed in handed:
            self._placed, self._placed_path = handed.pop(placed), placed
            self._listen(self._placed)
        for one in handed.values():
            places.close_control(one)
        if self._derived is not None:
            self._listen(self._derived)
        self.place(placed)

    def place(self, path: str) -> None:
        """Listen at another place, or at none, instead of the one that the config has named before."""
        if path == self._placed_path and (self._placed is not None or not path):
            return
        before, self._placed = self._placed, places.open_placed(path) if path else None
        self._placed_path = path
        if self._placed is not None:
            self._listen(self._placed)
        if before is not None:
            self._selector.unregister(before)
            places.close_control(before)

    def close(self) -> None:
        """Stop listening, remove the socket files, and disconnect the callers."""
        for one in self._listening:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one)
            places.close_control(one)
        self._derived = self._placed = None
        for caller in list(self._callers):
            self._end(caller)

    @property
    def listening(self) -> dict[str, socket.socket]:
        """The sockets on which commands are taken, by path."""
        return {one.getsockname(): one for one in self._listening}

    def leave(self) -> None:
        """Stop listening: the server that succeeds this one does, on the same sockets."""
        for one in self._listening:
            self._selector.unregister(one)
            one.close()
        self._derived = self._placed = None

    def close_in_child(self) -> None:
        """Close the sockets in a forked child, which does not serve them; the socket files stay."""
        for caller in self._callers:
            caller.sock.close()
        for one in self._listening:
            one.close()

    @property
    def due(self) -> float:
        """The earliest deadline of a caller, by the monotonic clock."""
        return min([caller.deadline for caller in self._callers], default=NEVER)

    def expire(self, now: float) -> None:
        """Disconnect the callers whose deadline has passed."""
        for caller in [one for one in self._callers if one.deadline <= now]:
            self._end(caller)

    @property
    def _listening(self) -> list[socket.socket]:
        return [one for one in (self._derived, self._placed) if one is not None]

    def _listen(self, opened: socket.socket) -> None:
        self._selector.register(opened, selectors.EVENT_READ, lambda _: self._accept(opened))

    def _accept(self, opened: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, _ = opened.accept()
            sock.setblocking(False)
            if len(self._callers) >= MAX_CALLERS:
                with contextlib.suppress(OSError), sock:
                    sock.send(encode(Answer([TOO_MANY])))
                return
            caller = _Caller(sock)
            self._callers.add(caller)
            self._selector.register(sock, selectors.EVENT_READ, lambda _: self._read_request(caller))

    def _read_request(self, caller: _Caller) -> None:
        try:
            part = caller.sock.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        caller.received += part
        line, newline, _ = caller.received.partition(b"\n")
        if not part:
            self._end(caller)
        elif newline or len(caller.received) >= MAX_REQUEST_BYTES:
            self._selector.unregister(caller.sock)
            caller.deadline = NEVER  # the command has its own
            if len(line) >= MAX_REQUEST_BYTES:
                self._answer(caller, Answer([f"a request has at most {MAX_REQUEST_BYTES} bytes"]))
                return
            reply = lambda answer: self._answer(caller, answer)  # noqa: E731
            run_request(line, self._commands, reply, is_stopping=self.is_stopping)

    def _answer(self, caller: _Caller, answer: Answer) -> None:
        if caller not in self._callers:  # disconnected meanwhile
            return
        caller.unsent = encode(answer)
        caller.deadline = time.monotonic() + WITHIN_S
        if not self._write(caller):
            self._selector.register(caller.sock, selectors.EVENT_WRITE, lambda _: self._write_more(caller))

    def _write_more(self, caller: _Caller) -> None:
        if not self._write(caller):
            caller.deadline = time.monotonic() + WITHIN_S

    def _write(self, caller: _Caller) -> bool:
        """Send as much of the answer as the caller takes; return whether that ended the connection."""
        try:
            while caller.unsent:
                caller.unsent = caller.unsent[caller.sock.send(caller.unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._end(caller)
        return True

    def _end(self, caller: _Caller) -> None:
        self._callers.discard(caller)
        with contextlib.suppress(KeyError, ValueError):  # not registered while its command runs
            self._selector.unregister(caller.sock)
        caller.sock.close()
