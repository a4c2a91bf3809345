"""What a worker asks for, and what it says to have, while changes are published to two of its configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from npserver.dns.message import codes
from npserver.dns.zone.content import Content, ZoneChange, differences, with_serial
from npserver.nameserver.zones.messages import ASK, WHOLE, Published, Whole, as_message, taken_slot, topic_of
from npserver.nameserver.zones.replica import ZoneReplicas
from npserver.runtime.context import Context
from tests.stage.worker import StillLoop, make_context

APEX = b"\4test\0"
OTHER = b"\5other\0"
SOA = b"\0\0" + bytes(20)


def content_of(serial: int, apex: bytes = APEX) -> Content:
    return with_serial({apex: {codes.SOA: (300, (SOA,)), codes.A: (60, (bytes((10, 0, 0, serial)),))}}, apex, serial)


class Tables:
    """What has been made in the tables of a config."""

    def __init__(self) -> None:
        self.contents: list[Content] = []

    def change(self, apex: bytes, changes: Any, content: Content) -> None:
        self.contents.append(dict(content))


class Controller:
    """Publishes, and answers who asks when it is told to."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.asked = 0
        context.pubsub.subscribe(ASK, self._hear)

    def _hear(self, message: Any) -> None:
        self.asked += 1

    def publish(self, before: int, after: int, apex: bytes = APEX) -> None:
        made = [content_of(one, apex) for one in (before, after)]
        change = ZoneChange(before, after, differences(*made))
        self.context.pubsub.publish(topic_of(apex), as_message(Published.of(before, after, change)))

    def answer(self, version: int, apex: bytes = APEX) -> None:
        whole = Whole.of(apex, version, content_of(version, apex), [])
        self.context.pubsub.hear(WHOLE, as_message(whole))

    def taken(self) -> int:
        return int(self.context.row.slots[taken_slot(self.context)])


def replicas(context: Context, tables: Tables, version: int, *apexes: bytes) -> ZoneReplicas:
    """Zones that a config has been compiled with."""
    contents = {apex: content_of(version, apex) for apex in apexes or (APEX,)}
    made = ZoneReplicas(context, {apex: (one, one) for apex, one in contents.items()}, tables.change)
    for apex in made.zones:
        made.zones[apex].version = version
    return made


class Loop(StillLoop):
    """A loop whose timers are run by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:  # type: ignore[override]
        self.timers.append((delay_s, callback, args))

    def run(self) -> float:
        """Run the only timer, and return its delay in seconds."""
        ((delay_s, callback, args),) = self.timers
        self.timers = []
        callback(*args)
        return delay_s


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def controller(loop: Loop) -> Controller:
    made = Controller(make_context(loop))
    loop.timers.clear()  # that of the sweeper
    return made


def test_what_is_not_heard_is_asked_for_again(controller: Controller, loop: Loop) -> None:
    tables = Tables()
    own = replicas(controller.context, tables, 1)
    controller.publish(2, 3)
    controller.publish(3, 4)
    assert (controller.asked, controller.taken()) == (1, 0)
    assert [loop.run() for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert (controller.asked, controller.taken()) == (8, 0)
    controller.answer(4)
    assert controller.taken() == own.zones[APEX].version == 4
    assert tables.contents == [content_of(4)]
    loop.run()
    assert (controller.asked, loop.timers) == (8, [])


def test_an_update_is_not_served_while_a_newer_config_waits_for_the_zone(controller: Controller) -> None:
    old, new = Tables(), Tables()
    first = replicas(controller.context, old, 1)
    controller.publish(1, 2)
    assert controller.taken() == 2
    second = replicas(controller.context, new, 1)
    second.zones[APEX].version = 0
    controller.publish(2, 3)
    assert first.zones[APEX].version == 3 and controller.taken() == 0
    controller.answer(3)
    assert second.zones[APEX].version == controller.taken() == 3


def test_a_zone_is_whole_before_the_changes_of_others_count(controller: Controller) -> None:
    own = replicas(controller.context, Tables(), 1, APEX, OTHER)
    controller.publish(2, 3)
    controller.publish(1, 4, OTHER)
    assert own.zones[OTHER].version == 4 and controller.taken() == 0
    controller.answer(3)
    assert controller.taken() == 4


def test_a_zone_that_never_comes_does_not_hold_up_the_others(controller: Controller, loop: Loop) -> None:
    own = replicas(controller.context, Tables(), 1, APEX, OTHER)
    controller.publish(2, 3)
    loop.now += 2.1
    controller.publish(1, 4, OTHER)
    assert own.zones[APEX].version == 1 and controller.taken() == 4
