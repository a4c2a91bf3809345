"""Publish and subscribe between processes: the latest value of each topic, such as the addresses of a host name.

A published value reaches every subscriber in every process, the publisher's included. A process that starts later gets
the latest value of each topic first. A value can also be told to one process, and is not kept then: a question to the
controller, and its answer. Values are what JSON can express. The process layer passes them on over the control
channels; a single process needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTROLLER = -1  # its number where workers have theirs
MASTER = -2  # that of the process with the control socket


class PubSub:
    """The topics of one process: their latest values and subscribers."""

    __slots__ = ("_subscribers", "latest", "send", "send_to")

    def __init__(
        self,
        send: Callable[[str, Any], None] | None = None,
        send_to: Callable[[int, str, Any], None] | None = None,
    ) -> None:
        """Create it without values.

        `send` passes a topic and its value on to the other processes, `send_to` to one of them, by its number. Without
        them there are no others.
        """
        self.latest: dict[str, Any] = {}
        self.send = send
        self.send_to = send_to
        self._subscribers: dict[str, list[Callable[[Any], None]]] = {}

    def publish(self, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in all processes."""
        self.deliver(topic, value)
        if self.send is not None:
            self.send(topic, value)

    def deliver(self, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in this process; called for values that other processes published."""
        self.latest[topic] = value
        self.hear(topic, value)

    def tell(self, process: int, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in another process: a worker, by its number, `CONTROLLER` or `MASTER`.

        It is lost if that process has just ended.
        """
        if self.send_to is not None:
            self.send_to(process, topic, value)
        else:
            self.hear(topic, value)

    def hear(self, topic: str, value: Any) -> None:
        """Deliver a value to the subscribers in this process, without keeping it; called for what others told it."""
        for callback in list(self._subscribers.get(topic, ())):
            callback(value)

    def is_heard(self, topic: str) -> bool:
        """Return whether this process subscribes to a topic."""
        return bool(self._subscribers.get(topic))

    def subscribe(self, topic: str, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` with the latest value, if any, and with each new one. Return a function that ends it."""
        callbacks = self._subscribers.setdefault(topic, [])
        callbacks.append(callback)
        if topic in self.latest:
            callback(self.latest[topic])
        return lambda: callbacks.remove(callback)


class Withdrawing:
    """The service of a config that publishes nothing of a kind: it withdraws what a former config has published."""

    __slots__ = ("_pubsub", "_withdraw")

    def __init__(self, pubsub: PubSub, withdraw: Callable[[PubSub], None]) -> None:
        self._pubsub = pubsub
        self._withdraw = withdraw

    def __repr__(self) -> str:
        return f"<Withdrawing by {self._withdraw.__name__}>"

    async def run(self) -> None:
        """Tell all processes."""
        self._withdraw(self._pubsub)
