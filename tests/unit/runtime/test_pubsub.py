"""Publish and subscribe within a process and between processes."""

from __future__ import annotations

from typing import Any

from npserver.runtime.pubsub import CONTROLLER, PubSub


def test_a_subscriber_gets_the_latest_value_and_each_new_one() -> None:
    pubsub, heard = PubSub(), []
    pubsub.publish("a", 1)
    pubsub.publish("a", 2)
    pubsub.subscribe("a", heard.append)
    pubsub.publish("b", "of another topic")
    pubsub.publish("a", 3)
    assert heard == [2, 3]


def test_who_has_ended_it_hears_no_more() -> None:
    pubsub, heard = PubSub(), []
    end = pubsub.subscribe("a", heard.append)
    pubsub.publish("a", 1)
    end()
    pubsub.publish("a", 2)
    assert heard == [1]
    assert pubsub.latest == {"a": 2}


def test_what_is_published_goes_to_other_processes_and_what_comes_from_them_does_not() -> None:
    sent: list[tuple[str, Any]] = []
    heard: list[Any] = []
    pubsub = PubSub(lambda topic, value: sent.append((topic, value)))
    pubsub.subscribe("a", heard.append)
    pubsub.publish("a", 1)
    pubsub.deliver("a", 2)
    assert (sent, heard) == ([("a", 1)], [1, 2])


def test_a_subscriber_may_end_it_while_it_is_told() -> None:
    pubsub, heard = PubSub(), []

    def once(value: Any) -> None:
        heard.append(value)
        end()

    end = pubsub.subscribe("a", once)
    pubsub.subscribe("a", heard.append)
    pubsub.publish("a", 1)
    pubsub.publish("a", 2)
    assert heard == [1, 1, 2]


def test_what_is_told_goes_to_one_process_and_is_not_kept() -> None:
    sent: list[tuple[int, str, Any]] = []
    heard: list[Any] = []
    pubsub = PubSub(None, lambda process, topic, value: sent.append((process, topic, value)))
    pubsub.subscribe("a", heard.append)
    pubsub.tell(CONTROLLER, "a", 1)
    pubsub.hear("a", 2)
    assert (sent, heard, pubsub.latest) == ([(-1, "a", 1)], [2], {})


def test_a_single_process_tells_itself() -> None:
    pubsub, heard = PubSub(), []
    pubsub.subscribe("a", heard.append)
    pubsub.tell(CONTROLLER, "a", 1)
    pubsub.tell(0, "a", 2)
    assert (heard, pubsub.latest) == ([1, 2], {})
