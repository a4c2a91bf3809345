"""UDP clients that send again as soon as they are answered, in a thread: does each keep its session?"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Any

SILENT_S = 3.0  # an answer later than this will not come


class EchoTarget:
    """A UDP target until the block ends: answers with the datagram and the port from which it came, the session's."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> EchoTarget:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(30)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, session = self._socket.recvfrom(2000)
            if not data:
                return
            self._socket.sendto(data + b" %d" % session[1], session)


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.number = 0
        self.session: bytes | None = None
        self.replaced: list[tuple[bytes, bytes]] = []


class BusySessions:
    """Some clients, until the block ends. `exchanges`: how many there were."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.exchanges = 0
        self.replaced: list[tuple[bytes, bytes]] = []  # sessions, and what they were replaced by
        self.unanswered = 0
        self._is_over = threading.Event()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._clients = [_Client(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(count)]
        self._selector = selectors.DefaultSelector()
        for one in self._clients:
            one.sock.setblocking(False)
            one.sock.connect(address)
            self._selector.register(one.sock, selectors.EVENT_READ, one)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> BusySessions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(30)
        for one in self._clients:
            one.sock.close()
        self._selector.close()

    def _run(self) -> None:
        for one in self._clients:
            one.sock.send(b"0")
        waiting, deadline = len(self._clients), time.monotonic() + SILENT_S
        while waiting and time.monotonic() < deadline:
            for key, _ in self._selector.select(SILENT_S):
                if not self._take(key.data):
                    continue
                if self._is_over.is_set():
                    waiting -= 1
                else:
                    deadline = time.monotonic() + SILENT_S
                    key.data.sock.send(b"%d" % key.data.number)
        self.unanswered = waiting

    def _take(self, client: Any) -> bool:
        """Take an answer; return whether it is the one that its client waits for."""
        number, _, session = client.sock.recv(2000).partition(b" ")
        if number != b"%d" % client.number:
            return False
        if client.session not in (None, session):
            self.replaced.append((client.session, session))
        client.session = session
        client.number += 1
        self.exchanges += 1
        return True
