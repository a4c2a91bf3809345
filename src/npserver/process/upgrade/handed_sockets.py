"""The sockets of a listener as the running program hands them to its successor, in one message of a channel.

Layout: `{"kind": "listener", "key": URI, "groups": [[0], [1]], "is_inherited": false, "owns_file": false, "is_drained":
false, "steered": 2}`, with one descriptor for each socket; `groups[n]` are the places, among them, of the sockets of
worker n. `steered` is that of `listen.binding.Binding`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.listen import inet_sockets
from npserver.listen.binding import Binding, share_between

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.process.message_channel import Message


class HandedSockets(Struct):
    """The sockets of one listener by worker of the program that hands them over."""

    groups: list[tuple[socket.socket, ...]]
    is_inherited: bool  # the service manager keeps them open
    owns_file: bool  # the file of a Unix socket is removed at the end
    is_drained: bool = False  # no clients can connect: `npserver drain`
    steered: int = 0

    def binding(self, listener: Listener, workers: int) -> Binding:
        """Return the binding of `listener` for another number of workers. Raises: OSError."""
        if listener.address.is_unix or self.is_inherited or not inet_sockets.BALANCES_PORTS:
            sockets = share_between(listener, self.groups[0], workers)
        else:
            sockets = inet_sockets.widen(listener, self.groups, workers, listens=not self.is_drained)
        return Binding(
            listener, sockets, is_inherited=self.is_inherited, is_borrowed=True, owns_file=self.owns_file,
            is_drained=self.is_drained, steered=self.steered,
        )  # fmt: skip

    def close(self) -> None:
        """Close these descriptors; those of the other program stay open."""
        for one in {one for group in self.groups for one in group}:
            one.close()


def to_message(binding: Binding) -> tuple[Message, list[int]]:
    """Return the message, and its descriptors, for the sockets of a listener."""
    unique: dict[socket.socket, int] = {}
    groups = [[unique.setdefault(one, len(unique)) for one in group] for group in binding.handed]
    message = {
        "kind": "listener", "key": binding.key, "groups": groups,
        "is_inherited": binding.is_inherited, "owns_file": binding.owns_file, "is_drained": binding.is_drained,
        "steered": binding.steered,
    }  # fmt: skip
    return message, [one.fileno() for one in unique]


def from_message(message: Message, descriptors: list[int]) -> HandedSockets:
    """Return what such a message hands over."""
    sockets = [socket.socket(fileno=number) for number in descriptors]
    groups = [tuple(sockets[place] for place in group) for group in message["groups"]]
    return HandedSockets(
        groups, message["is_inherited"], message["owns_file"],
        message.get("is_drained", False), message.get("steered", 0),  # missing from a predecessor of an earlier version
    )  # fmt: skip
