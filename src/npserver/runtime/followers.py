"""Methods that are called when something has changed, as long as their objects live: a reload leaves objects behind."""

from __future__ import annotations

import weakref
from collections.abc import Callable


class Followers:
    """The followers of one thing."""

    __slots__ = ("_methods",)

    def __init__(self) -> None:
        self._methods: list[weakref.WeakMethod[Callable[[], None]]] = []

    def __repr__(self) -> str:
        return f"<Followers {len(self)}>"

    def __len__(self) -> int:
        return len(self._methods)

    def add(self, changed: Callable[[], None]) -> None:
        """Call a bound method after each change from now on; its object is not kept alive."""
        self._methods.append(weakref.WeakMethod(changed, self._methods.remove))

    def call(self) -> None:
        """Call all of them."""
        for one in list(self._methods):
            if (changed := one()) is not None:
                changed()
