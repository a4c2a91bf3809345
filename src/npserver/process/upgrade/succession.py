"""The new program's part in an upgrade, in its master: it is ready, waits for its predecessor to leave, and serves."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.process.message_channel import ChannelClosed, Message

if TYPE_CHECKING:
    import socket

    from npserver.process.children import Child, Children
    from npserver.process.reload import ActiveConfig
    from npserver.process.upgrade.predecessor import Predecessor

log = logging.getLogger("npserver.server")


class Succession:
    """How far this program has taken over from its predecessor."""

    def __init__(
        self,
        before: Predecessor,
        active: ActiveConfig,
        children: Children,
        news: dict[str, Any],
        open_control: Callable[[dict[str, socket.socket]], None],
        give_up: Callable[[], None],
    ) -> None:
        """Create it.

        Args:
            active: the config in use.
            news: the latest values of all topics.
            open_control: takes commands on the predecessor's sockets, which it is given by path.
            give_up: ends this program.
        """
        self._before = before
        self._active = active
        self._children = children
        self._news = news
        self._open_control = open_control
        self._give_up = give_up
        self._listeners: list[str] = []  # those whose sockets are the predecessor's, by key
        self._compiled: set[int] = set()  # roles of the children that have compiled the config
        self.awaits_go = True  # whether the predecessor still serves the listeners

    def __repr__(self) -> str:
        return f"<Succession {'waiting' if self.awaits_go else 'done'}>"

    def begin(self, selector: selectors.BaseSelector) -> None:
        """Listen to the predecessor. The listeners are bound, and the children yet to be forked."""
        self._listeners = self._active.bindings.discard_handed()
        selector.register(self._before.channel, selectors.EVENT_READ, lambda _: self._hear(selector))

    def child_compiled(self, child: Child) -> None:
        """A child could serve now; once all could, the predecessor is told."""
        self._compiled.add(child.role)
        if all(one.role in self._compiled for one in self._children):
            self._before.send("ready", listeners=self._listeners)

    def child_exited(self, child: Child) -> None:
        """A child has ended."""
        self._compiled.discard(child.role)

    def serving(self) -> None:
        """All children serve."""
        self._before.send("serving")

    def close_in_child(self) -> None:
        """Close what the master keeps for itself, in a forked child."""
        self._before.close_in_child()

    def _hear(self, selector: selectors.BaseSelector) -> None:
        try:
            messages = self._before.receive()
        except ChannelClosed:
            selector.unregister(self._before.channel)
            self._before.channel.close()
            if self.awaits_go:
                log.error("upgrade: the npserver that started this one has given it up")
                self._give_up()
            return
        for message in messages:
            if message["kind"] == "go":
                self._go(message)

    def _go(self, message: Message) -> None:
        """The predecessor accepts no more clients: serve its listeners."""
        self.awaits_go = False
        active = self._active
        active.bindings.own()
        self._open_control(self._before.control)
        self._before.control = {}
        names = active.board.directory.names
        for name, value in message["health"].items():
            if name in names:
                active.board.rows[0][names[name]] = value
        for topic, value in message["news"].items():
            self._news[topic] = value
            self._children.broadcast({"kind": "published", "topic": topic, "value": value})
        self._children.broadcast({"kind": "go"})
