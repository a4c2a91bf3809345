"""News between processes."""

from __future__ import annotations

from typing import Any

from npserver.runtime.bulletin import Bulletin


def test_a_subscriber_gets_the_latest_value_and_each_new_one() -> None:
    bulletin, heard = Bulletin(), []
    bulletin.publish("a", 1)
    bulletin.publish("a", 2)
    bulletin.subscribe("a", heard.append)
    bulletin.publish("b", "of another topic")
    bulletin.publish("a", 3)
    assert heard == [2, 3]


def test_who_has_ended_it_hears_no_more() -> None:
    bulletin, heard = Bulletin(), []
    end = bulletin.subscribe("a", heard.append)
    bulletin.publish("a", 1)
    end()
    bulletin.publish("a", 2)
    assert heard == [1]
    assert bulletin.latest == {"a": 2}


def test_what_is_published_goes_to_other_processes_and_what_comes_from_them_does_not() -> None:
    sent: list[tuple[str, Any]] = []
    heard: list[Any] = []
    bulletin = Bulletin(lambda topic, value: sent.append((topic, value)))
    bulletin.subscribe("a", heard.append)
    bulletin.publish("a", 1)
    bulletin.deliver("a", 2)
    assert (sent, heard) == ([("a", 1)], [1, 2])


def test_a_subscriber_may_end_it_while_it_is_told() -> None:
    bulletin, heard = Bulletin(), []

    def once(value: Any) -> None:
        heard.append(value)
        end()

    end = bulletin.subscribe("a", once)
    bulletin.subscribe("a", heard.append)
    bulletin.publish("a", 1)
    bulletin.publish("a", 2)
    assert heard == [1, 1, 2]
