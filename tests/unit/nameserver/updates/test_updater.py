"""Updates between a worker and the controller: each is made once, whoever begins first, and has its own answer."""

from __future__ import annotations

from typing import Any

import dns.update
from msgspec import to_builtins

from npserver.dns.message import codes
from npserver.dns.message.tsig import StreamSigner, TsigKey
from npserver.nameserver.query_processor import UpdateRequest
from npserver.nameserver.updates.service import QUEUE, UpdateQueue
from npserver.nameserver.updates.updater import ANSWER, Answered, Asked, Updater
from npserver.runtime.pubsub import PubSub
from tests.stage.worker import StillLoop, make_context


class Loop(StillLoop):
    """Its timers do nothing."""

    def call_later(self, delay_s: float, callback: object, *args: object) -> Any:
        return self

    def cancel(self) -> None:
        """Called as that of a timer."""


class Processes:
    """A worker and a controller; what one tells the other arrives when `carry` is called."""

    def __init__(self) -> None:
        self.worker, self.controller = make_context(Loop()), make_context(Loop())
        self.told: list[tuple[PubSub, str, Any]] = []
        for one, other in ((self.worker, self.controller), (self.controller, self.worker)):
            self.connect(one.pubsub, other.pubsub)

    def connect(self, one: PubSub, other: PubSub) -> None:
        one.send = lambda topic, value: self.told.append((other, topic, value))
        one.send_to = lambda process, topic, value: self.told.append((other, topic, value))

    def carry(self) -> None:
        """Let everything arrive that was told until now."""
        told, self.told = self.told, []
        for to, topic, value in told:
            to.deliver(topic, value)

    @property
    def queue(self) -> UpdateQueue:
        """That of the controller, which begins to listen."""
        return QUEUE.of(self.controller)

    def waiting(self) -> list[Asked]:
        """Return what the controller is to make, and take it out."""
        return [self.queue.waiting.get_nowait() for _ in range(self.queue.waiting.qsize())]

    def answer(self, asked: Asked, rcode: int = codes.NOERROR) -> None:
        self.controller.pubsub.tell(asked.worker, ANSWER, to_builtins(Answered(asked.number, rcode)))
        self.carry()


def ask(updater: Updater, number: int, replies: list[tuple[int, str]]) -> None:
    """Ask for an update; its reply comes as the number and the rcode."""
    signature = StreamSigner(TsigKey(b"\3key\0", b"secret"), b"")
    request = UpdateRequest(dns.update.UpdateMessage("test", id=number).to_wire(), b"\4test\0", signature)

    def deliver(reply: bytes) -> None:
        replies.append((int.from_bytes(reply[:2], "big"), codes.rcode_name(reply[3] & 0xF)))

    updater.ask(request, "192.0.2.1", deliver)


def test_an_update_that_arrives_before_the_worker_knows_who_listens_is_made_once() -> None:
    """It was made twice, which undoes what another client has updated in between."""
    both, replies = Processes(), []
    updater = Updater(both.worker)
    both.queue  # noqa: B018 - it listens from now on, which the worker does not know yet
    ask(updater, 1, replies)
    both.carry()
    both.carry()
    [asked] = both.waiting()
    both.answer(asked)
    assert (both.waiting(), replies) == ([], [(1, "NOERROR")])


def test_an_update_that_nobody_has_heard_is_asked_again() -> None:
    both, replies = Processes(), []
    updater = Updater(both.worker)
    ask(updater, 1, replies)
    both.carry()
    assert both.waiting() == []  # it listens from now on
    both.carry()
    both.carry()
    [asked] = both.waiting()
    both.answer(asked, codes.REFUSED)
    assert replies == [(1, "REFUSED")]


def test_another_controller_is_asked_for_what_the_first_has_not_answered() -> None:
    both, replies = Processes(), []
    updater = Updater(both.worker)
    both.queue  # noqa: B018
    both.carry()
    ask(updater, 1, replies)
    ask(updater, 2, replies)
    both.carry()
    first, _ = both.waiting()
    both.answer(first)

    both.controller = make_context(Loop())
    both.connect(both.worker.pubsub, both.controller.pubsub)
    both.connect(both.controller.pubsub, both.worker.pubsub)
    assert both.waiting() == []
    both.carry()
    both.carry()
    [second] = both.waiting()
    both.answer(second)
    assert replies == [(1, "NOERROR"), (2, "NOERROR")]


def test_an_answer_reaches_the_updater_of_its_config_alone() -> None:
    """During a reload there are two, and both hear it."""
    both, former, present = Processes(), [], []
    updaters = Updater(both.worker), Updater(both.worker)
    both.queue  # noqa: B018
    both.carry()
    ask(updaters[0], 1, former)
    ask(updaters[1], 2, present)
    both.carry()
    one, other = both.waiting()
    both.answer(one, codes.REFUSED)
    assert (former, present) == ([(1, "REFUSED")], [])
    both.answer(other)
    assert (former, present) == ([(1, "REFUSED")], [(2, "NOERROR")])
