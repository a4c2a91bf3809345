"""Publish and subscribe between processes: the latest value of each topic, such as the addresses of a host name.

A published value reaches every subscriber in every process, the publisher's included. A process that starts later gets
the latest value of each topic first. Values are what JSON can express. The process layer passes them on over the
control channels; a single process needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PubSub:
    """The topics of one process: their latest values and subscribers."""

    __slots__ = ("_subscribers", "latest", "send")

    def __init__(self, send: Callable[[str, Any], None] | None = None) -> None:
        """Create it without values. `send` passes a topic and its value on to the other processes."""
        self.latest: dict[str, Any] = {}
        self.send = send
        self._subscribers: dict[str, list[Callable[[Any], None]]] = {}

    def publish(self, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in all processes."""
        self.deliver(topic, value)
        if self.send is not None:
            self.send(topic, value)

    def deliver(self, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in this process; called for values that other processes published."""
        self.latest[topic] = value
        for callback in list(self._subscribers.get(topic, ())):
            callback(value)

    def subscribe(self, topic: str, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` with the latest value, if any, and with each new one. Return a function that ends it."""
        callbacks = self._subscribers.setdefault(topic, [])
        callbacks.append(callback)
        if topic in self.latest:
            callback(self.latest[topic])
        return lambda: callbacks.remove(callback)
