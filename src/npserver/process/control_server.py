"""The control socket as the master serves it: `npserver reload` connects, and is told the outcome of the reload."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable

from npserver.network_sets.states import BanAnswer
from npserver.process import control_socket
from npserver.process.reload_outcome import ReloadOutcome


class ControlServer:
    """Accepts callers, and keeps those that have asked for a reload until `answer` tells them its outcome."""

    __slots__ = ("_answer_bans", "_callers", "_flush", "_request_reload", "_selector", "_socket", "is_stopping")

    def __init__(
        self,
        selector: selectors.BaseSelector,
        request_reload: Callable[[], None],
        answer_bans: Callable[[str], BanAnswer],
        flush: Callable[[], None],
    ) -> None:
        self._answer_bans = answer_bans
        self._flush = flush
        self._selector = selector  # its keys' data are called with the event mask
        self._request_reload = request_reload
        self._socket: socket.socket | None = None
        self._callers: list[socket.socket] = []
        self.is_stopping = False  # whether requests are refused

    def open(self, config_file: str) -> None:
        """Listen for callers, if the control socket of this config file can be bound."""
        self._socket = control_socket.open_control(config_file)
        if self._socket is not None:
            self._selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def answer(self, outcome: ReloadOutcome) -> None:
        """Tell all callers the outcome of the reload, and disconnect them."""
        callers, self._callers = self._callers, []
        for caller in callers:
            control_socket.answer(caller, outcome)

    def close(self) -> None:
        """Stop listening and remove the socket file."""
        if self._socket is not None:
            control_socket.close_control(self._socket)

    def close_in_child(self) -> None:
        """Close the sockets in a forked child, which does not serve them; the socket file stays."""
        for caller in self._callers:
            caller.close()
        if self._socket is not None:
            self._socket.close()

    def _accept(self, _mask: int) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            caller, _ = self._socket.accept()
            caller.setblocking(False)
            self._selector.register(caller, selectors.EVENT_READ, lambda _: self._read_request(caller))

    def _read_request(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        try:
            request = caller.recv(control_socket.MAX_REQUEST)
        except OSError:
            request = b""
        if request.startswith(control_socket.BAN_REQUESTS) and not self.is_stopping:
            control_socket.answer(caller, self._answer_bans(request.decode("utf-8", "replace")))
        elif request == control_socket.FLUSH_REQUEST:
            self._flush()
            control_socket.answer(caller, ReloadOutcome())
        elif request != control_socket.REQUEST:
            control_socket.answer(caller, ReloadOutcome([control_socket.UNKNOWN_REQUEST]))
        elif self.is_stopping:
            control_socket.answer(caller, ReloadOutcome([control_socket.STOPPING]))
        else:
            self._callers.append(caller)
            self._request_reload()
