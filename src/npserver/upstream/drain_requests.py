"""Drains and their ends as the status page asks for them, between a worker and the process with the control socket."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, convert, to_builtins

from npserver.runtime.context import PerProcess
from npserver.runtime.pubsub import MASTER

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from npserver.runtime.context import Context

ASK = "upstreams:drains:ask"  # told to the master
ANSWER = "upstreams:drains:answer"  # told to a worker
MAX_WAITING = 100  # requests of one worker
WITHIN_S = 10.0
NO_ANSWER = "the server did not answer in time"
EMBEDDED = "a server in another program (npserver.serve) takes no commands"
TOO_MANY = "too many requests at once: try again"


class Asked(Struct, frozen=True):
    """What a person asks for."""

    worker: int
    number: int
    verb: Literal["drain", "undrain"]
    target: str  # its URI
    by: str  # for the log: the client's address, and its name if it has signed in


class Answered(Struct, frozen=True):
    """What became of it: why not, or ""."""

    number: int
    fault: str


class DrainRequests:
    """The requests of one process that wait for an answer."""

    __slots__ = ("_context", "_numbers", "_waiting")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._numbers = itertools.count(time.time_ns())  # a worker in the place of one that has ended hears its answers
        self._waiting: dict[int, tuple[Callable[[str], None], TimerHandle]] = {}
        context.pubsub.subscribe(ANSWER, self._answered)

    def __repr__(self) -> str:
        return f"<DrainRequests waiting={len(self._waiting)}>"

    def ask(self, verb: Literal["drain", "undrain"], target: str, by: str, done: Callable[[str], None]) -> None:
        """Have a target drained, or used again. `done` is called with why not, or ""."""
        pubsub = self._context.pubsub
        if pubsub.send_to is None and not pubsub.is_heard(ASK):
            done(EMBEDDED)
            return
        if len(self._waiting) >= MAX_WAITING:
            done(TOO_MANY)
            return
        number = next(self._numbers)
        timer = self._context.loop.call_later(WITHIN_S, self._answered, {"number": number, "fault": NO_ANSWER})
        self._waiting[number] = done, timer
        asked = Asked(self._context.worker, number, verb, target, by)
        pubsub.tell(MASTER, ASK, to_builtins(asked))

    def _answered(self, message: Any) -> None:
        answer = convert(message, Answered)
        found = self._waiting.pop(answer.number, None)
        if found is not None:
            done, timer = found
            timer.cancel()
            done(answer.fault)


DRAIN_REQUESTS: PerProcess[DrainRequests] = PerProcess(DrainRequests)
