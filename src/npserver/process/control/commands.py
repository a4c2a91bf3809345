"""The commands that every server carries out for callers of its control socket, in the master or the single process."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import msgspec

from npserver.errors import clip
from npserver.observe import logs
from npserver.observe.config import AREAS
from npserver.process.control.draining import LEVEL
from npserver.process.control.drains import Drains
from npserver.process.control.listener_drains import ListenerDrains
from npserver.process.control.protocol import Answer
from npserver.process.control.server import NEVER
from npserver.upstream.drain_requests import ANSWER, Answered, Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.listen.listener import Listener
    from npserver.process.control.host import Host
    from npserver.process.control.protocol import Reply, Request
    from npserver.process.reload_outcome import ReloadOutcome

log = logging.getLogger("npserver.server")

MAX_WAIT_S = 30 * 86_400
DRAINS_EVERY_S = 1.0  # as long as something is drained that is not known to be empty, it is looked at


class ServerCommands:
    """The commands of one server; `all` names them. It can be watched by a `Sweeper`, for drains that become empty."""

    __slots__ = ("_awaiting_reload", "_drains", "_has_levels", "_host", "_last_reload", "_listener_drains", "deadline")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._has_levels = False  # of `log`
        self._drains = Drains(host)
        self._listener_drains = ListenerDrains(host)
        self._awaiting_reload: list[Reply] = []
        self._last_reload: dict[str, Any] | None = None
        self.deadline = 0.0  # always passed: a sweeper calls `expire` at each sweep

    def reload_finished(self, outcome: ReloadOutcome) -> None:
        """Answer those who have asked for a reload; called with the outcome of each."""
        told = msgspec.to_builtins(outcome)
        self._last_reload = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **told}
        if outcome.is_in_use:
            self.keep_drains()
            if self._has_levels:
                self._has_levels = False
                self._host.publish(LEVEL, None)
        awaiting, self._awaiting_reload = self._awaiting_reload, []
        for reply in awaiting:
            reply(Answer(result=told))

    def keep_drains(self) -> None:
        """Forget the drains of what the config does not name: those before it has."""
        self._drains.keep()
        self._listener_drains.keep()

    @property
    def due(self) -> float:
        """When `expire` is to be called at the latest, by the monotonic clock."""
        awaits_end = self._drains.awaits_end or self._listener_drains.awaits_end
        return time.monotonic() + DRAINS_EVERY_S if awaits_end else NEVER

    def expire(self, _now: float) -> None:
        """Tell in the log what has become empty of what is drained."""
        self._drains.tell_empty()
        self._listener_drains.tell_empty()

    def all(self) -> dict[str, Callable[[Request, Reply], None]]:
        """Return the commands by name."""
        return {
            "ban": self.run_ban,
            "bans": self.run_ban,
            "drain": self.drain,
            "drained": self.drained,
            "flush": self.flush,
            "log": self.log,
            "reload": self.reload,
            "state": self.state,
            "status": self.status,
            "stop": self.stop,
            "unban": self.run_ban,
            "undrain": self.undrain,
        }

    def reload(self, _request: Request, reply: Reply) -> None:
        """`reload`: the result is a `ReloadOutcome`."""
        self._awaiting_reload.append(reply)
        self._host.reload()

    def run_ban(self, request: Request, reply: Reply) -> None:
        """`bans`, and `ban` and `unban` with an `address`: the result is a list of bans."""
        from npserver.network_sets.commands import answer_ban_command

        address = request.arguments.get("address", "")
        answer = answer_ban_command(f"{request.command} {address}", self._host.latest(), self._host.tell)
        reply(Answer([answer.error] if answer.error else [], answer.bans))

    def flush(self, _request: Request, reply: Reply) -> None:
        """`flush`: forget what resolvers have answered."""
        self._host.board.answers.forget()
        reply(Answer())

    def state(self, _request: Request, reply: Reply) -> None:
        """`state`: the result is a `LiveState`, for `npserver explain -live`."""
        from npserver.process.live_state import collect

        host = self._host
        reply(Answer(result=msgspec.to_builtins(collect(host.board, host.latest(), host.runtime().document))))

    def log(self, request: Request, reply: Reply) -> None:
        """`log` with `area` and `level`, which all processes have until the next reload."""
        area, level = str(request.arguments.get("area")), str(request.arguments.get("level"))
        if area not in (*AREAS, logs.ALL):
            reply(Answer([f"expected an area, {', '.join(AREAS)} or {logs.ALL}, got {clip(area)}"]))
            return
        if level not in logs.LEVELS:
            reply(Answer([f"expected a level, {', '.join(logs.LEVELS)}, got {clip(level)}"]))
            return
        logs.set_level(area, level)  # here, and in the processes that are forked later
        self._host.publish(LEVEL, {"area": area, "level": level})
        self._has_levels = True
        log.info("log level of %s is %s until the next reload (npserver log)", area, level)
        reply(Answer())

    def stop(self, _request: Request, reply: Reply) -> None:
        """`stop`: shut down like SIGTERM; the result has `pid`, and `within_s`, the time that it may take."""
        timeout_s = self._host.runtime().document.config.timeouts.shutdown
        reply(Answer(result={"pid": os.getpid(), "within_s": float(timeout_s)}))
        if not self._host.is_stopping():  # a second signal would end it at once
            log.info("told to stop (npserver stop)")
            os.kill(os.getpid(), signal.SIGTERM)

    def drain(self, request: Request, reply: Reply) -> None:
        """`drain` with `target`, which may be a listener, `wait_s` or None, and `is_forced`: the result is that of
        `drained`."""
        wait_s, name = request.arguments.get("wait_s"), str(request.arguments.get("target"))
        if wait_s is not None and (not isinstance(wait_s, (int, float)) or not 0 <= wait_s <= MAX_WAIT_S):
            reply(Answer([f"expected a time of at most {MAX_WAIT_S} s, got {clip(wait_s)}"]))
            return
        listeners, fault = self._find(name)
        if not fault and listeners:
            fault = self._listener_drains.begin(listeners, wait_s)
        elif not fault:
            fault = self._drains.begin(name, wait_s, is_forced=bool(request.arguments.get("is_forced")))
        reply(Answer([fault]) if fault else Answer(result=self._left(name)))

    def drained(self, request: Request, reply: Reply) -> None:
        """`drained` with `target`: the result is what `Drains.left` or `ListenerDrains.left` returns."""
        reply(Answer(result=self._left(str(request.arguments.get("target")))))

    def undrain(self, request: Request, reply: Reply) -> None:
        """`undrain` with `target`, which may be a listener: the result has `is_listener`."""
        name = str(request.arguments.get("target"))
        listeners, fault = self._find(name)
        if not fault:
            fault = self._listener_drains.end(listeners, name) if listeners else self._drains.end(name)
        reply(Answer([fault] if fault else [], {"is_listener": bool(listeners)}))

    def _left(self, name: str) -> dict[str, Any]:
        listeners, _ = self._find(name)
        left = self._listener_drains.left(listeners) if listeners else self._drains.left(name)
        if left["is_empty"]:
            self.expire(0.0)  # the log says so before the command does
        return left

    def _find(self, name: str) -> tuple[list[Listener], str]:
        """Return the listeners with a name, none if it is that of a target; and why it says too little, or is of
        neither, or ""."""
        listeners, targets = self._listener_drains.find(name), self._drains.find(name)
        if not listeners and not targets:
            return [], self._drains.unknown(name, self._listener_drains.names())
        if listeners and targets and "://" in name:
            uri, place = clip(name), name.partition("://")[2]
            return [], f"{uri} is a listener and a target: give the listener a name, or say {place} for the target"
        return [] if targets else listeners, ""

    def drain_asked(self, message: Any) -> None:
        """Drain or undrain a target as a status page asks for it, by `upstream.drain_requests`."""
        asked = msgspec.convert(message, Asked)
        by = f"status page, by {asked.by}"
        if asked.verb == "drain":
            fault = self._drains.begin(asked.target, None, is_forced=False, by=by)
        else:
            fault = self._drains.end(asked.target, by=by)
        if fault:
            log.info("%s of %s refused (%s): %s", asked.verb, clip(asked.target), by, fault)
        self._host.tell(asked.worker, ANSWER, msgspec.to_builtins(Answered(asked.number, fault)))

    def status(self, _request: Request, reply: Reply) -> None:
        """`status`: the result is what `process.control.status` says."""
        from npserver.process.control.status import status_of

        reply(Answer(result=status_of(self._host, self._last_reload)))
