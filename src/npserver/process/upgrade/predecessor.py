"""The running program as its successor sees it: hands over its sockets, and leaves once the successor is ready.

`npserver upgrade` makes a running master start the program again, with one end of a message channel as the descriptor
that the variable NPSERVER_UPGRADE names. Over it come, in this order: a message `listener` for each listener
(`process.upgrade.handed_sockets`), `inherited` with the sockets of the service manager, `control` with those on which
commands are taken, and `state`. The successor answers `ready` once all of its processes have compiled the config, or
`failed`. The predecessor then stops accepting and says `go`; the successor says `serving`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from npserver.errors import NpserverError, StartError, reason_of
from npserver.process.message_channel import ChannelClosed, Message, MessageChannel
from npserver.process.upgrade.handed_sockets import HandedSockets, from_message

if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "NPSERVER_UPGRADE"  # the number of the channel's descriptor
_STATE_WITHIN_S = 20.0


class Predecessor:
    """The channel to the predecessor, and what it has handed over."""

    def __init__(self, channel: MessageChannel) -> None:
        """Take what is handed over. Raises: StartError if it does not come."""
        self.channel = channel
        self.handed: dict[str, HandedSockets] = {}
        self.inherited: Sequence[socket.socket] = ()
        self.control: dict[str, socket.socket] = {}  # by path
        self.secrets: dict[str, Any] = {}  # of session tickets
        self.news: dict[str, Any] = {}  # the latest values of topics
        deadline = time.monotonic() + _STATE_WITHIN_S
        while not self._take_all():
            if not select.select([channel], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise StartError("the npserver that starts this one does not hand over its sockets")

    def __repr__(self) -> str:
        return f"<Predecessor {' '.join(self.handed)}>"

    def _take_all(self) -> bool:
        """Take the messages that have come; return whether the last one has."""
        try:
            messages = self.channel.receive()
        except ChannelClosed as error:
            raise StartError("the npserver that started this one has ended") from error
        for message, descriptors in messages:
            if message["kind"] == "listener":
                self.handed[message["key"]] = from_message(message, descriptors)
                continue
            sockets = [socket.socket(fileno=number) for number in descriptors]
            if message["kind"] == "inherited":
                self.inherited = sockets
            elif message["kind"] == "control":
                self.control = dict(zip(message["paths"], sockets, strict=True))
            elif message["kind"] == "state":
                self.secrets, self.news = message["secrets"], message["news"]
                return True
        return False

    def receive(self) -> list[Message]:
        """Return the messages that have come. Raises: ChannelClosed when it has ended."""
        return [message for message, _ in self.channel.receive()]

    def send(self, kind: str, **more: Any) -> None:
        """Send a message; it is lost if the predecessor has ended."""
        with contextlib.suppress(ChannelClosed):
            self.channel.send({"kind": kind, **more})

    def close_in_child(self) -> None:
        """Close the channel, and the sockets that the master keeps for itself, in a forked child."""
        self.channel.close()
        for one in self.control.values():
            one.close()


def find_predecessor() -> Predecessor | None:
    """Return the running program that has started this one to succeed it; None if none has. Raises: StartError."""
    number = os.environ.pop(VARIABLE, "")
    if not number.isdigit():
        return None
    try:
        end = socket.socket(fileno=int(number))
    except OSError:
        return None
    end.set_inheritable(False)
    return Predecessor(MessageChannel(end))


@contextlib.contextmanager
def telling_failure(predecessor: Predecessor | None) -> Iterator[None]:
    """Start in it: an error that ends the start is told to the predecessor, which goes on."""
    try:
        yield
    except Exception as error:
        if predecessor is not None:
            text = reason_of(error) if isinstance(error, (NpserverError, OSError)) else repr(error)
            predecessor.send("failed", errors=text.splitlines())
        raise
