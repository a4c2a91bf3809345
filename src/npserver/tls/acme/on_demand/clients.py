"""How many names each client makes the application be asked about, so that one alone does not use up all questions."""

from __future__ import annotations

from collections.abc import Callable

PERIOD_S = 60.0
MAX_CLIENTS = 10_000  # that are counted in one period; further ones are bound by the limit of all together


class ClientQuestions:
    """The names that clients have asked about in the present period."""

    __slots__ = ("_asked", "_clock", "_ends")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends = 0.0  # of the period
        self._asked: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<ClientQuestions of {len(self._asked)}>"

    def may_ask(self, client: str, limit: int) -> bool:
        """Count a question; False, with nothing counted, if the client has asked `limit` already."""
        now = self._clock()
        if now >= self._ends:
            self._ends = now + PERIOD_S
            self._asked.clear()
        asked = self._asked.get(client, 0)
        if asked >= limit:
            return False
        if asked or len(self._asked) < MAX_CLIENTS:
            self._asked[client] = asked + 1
        return True
