"""The latest news by topic, passed between the processes: resolved addresses, renewed certificates.

A publisher's news reaches every subscriber in every process, its own included; a process that starts later gets the
latest of each topic first. Values are what JSON can say. The process layer joins the bulletins over the control
channels; in a single process nothing needs joining.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Bulletin:
    """One process's view of the news."""

    __slots__ = ("_subscribers", "latest", "send")

    def __init__(self, send: Callable[[str, Any], None] | None = None) -> None:
        self.latest: dict[str, Any] = {}
        self.send = send  # passes news on to the other processes
        self._subscribers: dict[str, list[Callable[[Any], None]]] = {}

    def publish(self, topic: str, value: Any) -> None:
        """Tell all processes."""
        self.deliver(topic, value)
        if self.send is not None:
            self.send(topic, value)

    def deliver(self, topic: str, value: Any) -> None:
        """Tell this process's subscribers; called for news from other processes."""
        self.latest[topic] = value
        for callback in list(self._subscribers.get(topic, ())):
            callback(value)

    def subscribe(self, topic: str, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` with the latest value, if any, and with each new one. Gives the call that ends it."""
        callbacks = self._subscribers.setdefault(topic, [])
        callbacks.append(callback)
        if topic in self.latest:
            callback(self.latest[topic])
        return lambda: callbacks.remove(callback)
