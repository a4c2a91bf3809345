"""A handler that keeps its exchanges for the test to answer, and a body sink that writes down what it is told."""

from __future__ import annotations

from typing import Any

from npserver.web.exchange import Exchange
from tests.protocols.memory import Client, Server

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


class Held:
    """Keeps its exchanges for the test to answer."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Recorder:
    """A body sink and a source that write down what they are told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.body = b""

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self, trailers: bytes) -> None:
        self.events.append("end")

    def body_lost(self, reason: str) -> None:
        self.events.append(f"lost: {reason}")

    def pause(self) -> None:
        self.events.append("pause")

    def resume(self) -> None:
        self.events.append("resume")

    def cancel(self) -> None:
        self.events.append("cancel")


def held(**settings: Any) -> tuple[Server, Held, Client]:
    handler = Held()
    server = Server(handler, **settings)
    return server, handler, server.connect()
