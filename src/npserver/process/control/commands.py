"""The commands that every server carries out for callers of its control socket, in the master or the single process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from npserver.process.control.protocol import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.process.control.protocol import Reply, Request
    from npserver.process.reload_outcome import ReloadOutcome
    from npserver.runtime.scoreboard import Scoreboard


class ServerCommands:
    """What the commands need of the process that runs them; its methods are the commands."""

    def __init__(
        self,
        board: Scoreboard,
        latest: Callable[[], dict[str, Any]],
        tell: Callable[[int, str, Any], None],
        reload: Callable[[Callable[[ReloadOutcome], None]], None],
    ) -> None:
        """Create it.

        Args:
            board: of all processes.
            latest: returns the latest values of all topics.
            tell: tells a process a value of a topic.
            reload: begins a reload, and calls what it is given with the outcome.
        """
        self._board = board
        self._latest = latest
        self._tell = tell
        self._reload = reload

    def all(self) -> dict[str, Callable[[Request, Reply], None]]:
        """Return the commands by name."""
        return {
            "ban": self.run_ban,
            "bans": self.run_ban,
            "flush": self.flush,
            "reload": self.reload,
            "unban": self.run_ban,
        }

    def reload(self, _request: Request, reply: Reply) -> None:
        """`reload`: the result is a `ReloadOutcome`."""
        self._reload(lambda outcome: reply(Answer(result=msgspec.to_builtins(outcome))))

    def run_ban(self, request: Request, reply: Reply) -> None:
        """`bans`, and `ban` and `unban` with an `address`: the result is a list of bans."""
        from npserver.network_sets.commands import answer_ban_command

        address = request.arguments.get("address", "")
        answer = answer_ban_command(f"{request.command} {address}", self._latest(), self._tell)
        reply(Answer([answer.error] if answer.error else [], answer.bans))

    def flush(self, _request: Request, reply: Reply) -> None:
        """`flush`: forget what resolvers have answered."""
        self._board.answers.forget()
        reply(Answer())
