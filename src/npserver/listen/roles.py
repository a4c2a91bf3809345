"""The role that a live listener plays for its acceptors. Only type checkers import this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npserver.runtime.front import Live

if TYPE_CHECKING:
    from npserver.listen.listener import Listener


class Accepting(Live, Protocol):
    """A live listener as its acceptors see it: `listen.live_listener.LiveListener`."""

    @property
    def listener(self) -> Listener:
        """The listener, as of the last reload."""
