"""The worker's side of updates: sends them to the controller, and its answers to the clients.

Each is made once, unless the controller ends before it has answered: an update names the controller that it is meant
for, another one leaves it alone and is asked again when it is known.
"""

from __future__ import annotations

import itertools
import time
import weakref
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from npserver.dns.message import codes
from npserver.dns.message.header import error_reply
from npserver.runtime.pubsub import CONTROLLER

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from npserver.nameserver.query_processor import UpdateRequest
    from npserver.runtime.context import Context

ASK = "dns:updates:ask"  # told to the controller
ANSWER = "dns:updates:answer"  # told to a worker
BEGUN = "dns:updates:begun"  # published by a controller that has begun to listen: what it is known by
MAX_WAITING = 1000  # updates of one worker
WITHIN_S = 20.0  # the controller answers, else SERVFAIL

Deliver = Callable[[bytes], None]


class Asked(Struct, frozen=True):
    """An update that a key has signed, for the controller. `data` is in base64, names are in hexadecimal digits.

    `controller` is what `BEGUN` has last told, 0 if nothing.
    """

    controller: int
    worker: int
    number: int
    zone: str
    key: str
    client: str
    data: str


class Answered(Struct, frozen=True):
    """What became of an update."""

    number: int
    rcode: int


class Updater:
    """The updates that the clients of one process wait for."""

    __slots__ = ("__weakref__", "_context", "_controller", "_numbers", "_waiting")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._controller = 0
        # not from 0: the updaters of two configs, and of the process before this one, hear each other's answers
        self._numbers = itertools.count(time.time_ns())
        self._waiting: dict[int, tuple[UpdateRequest, Deliver, TimerHandle, Asked]] = {}
        for topic, call in ((ANSWER, _answered), (BEGUN, _begun)):
            end = context.pubsub.subscribe(topic, partial(call, weakref.ref(self)))
            weakref.finalize(self, end)

    def __repr__(self) -> str:
        return f"<Updater waiting={len(self._waiting)}>"

    def ask(self, request: UpdateRequest, client: str, deliver: Deliver) -> None:
        """Have a zone updated, and call `deliver` with the signed reply."""
        if len(self._waiting) >= MAX_WAITING:
            self._deliver(request, deliver, codes.SERVFAIL)
            return
        number = next(self._numbers)
        timer = self._context.loop.call_later(WITHIN_S, self.answered, Answered(number, codes.SERVFAIL))
        asked = Asked(
            self._controller,
            self._context.worker,
            number,
            request.zone.hex(),
            request.signature.key_name.hex(),
            client,
            b64encode(request.data).decode(),
        )
        self._waiting[number] = request, deliver, timer, asked
        self._context.pubsub.tell(CONTROLLER, ASK, to_builtins(asked))

    def ask_again(self, controller: int) -> None:
        """Ask a new controller for what its predecessor has not answered."""
        self._controller = controller
        for *_, asked in list(self._waiting.values()):
            self._context.pubsub.tell(CONTROLLER, ASK, to_builtins(replace(asked, controller=controller)))

    def answered(self, answer: Answered) -> None:
        """Send the reply to an update."""
        found = self._waiting.pop(answer.number, None)
        if found is not None:
            request, deliver, timer, _ = found
            timer.cancel()
            self._deliver(request, deliver, answer.rcode)

    def _deliver(self, request: UpdateRequest, deliver: Deliver, rcode: int) -> None:
        deliver(request.signature.sign(error_reply(request.data, rcode), int(self._context.wall_clock())))


def _answered(own: weakref.ref[Updater], message: Any) -> None:
    updater = own()
    if updater is not None:
        updater.answered(convert(message, Answered))


def _begun(own: weakref.ref[Updater], message: Any) -> None:
    updater = own()
    if updater is not None:
        updater.ask_again(message)
