"""Followers are called as long as their objects live."""

from __future__ import annotations

from npserver.runtime.followers import Followers


class Follower:
    def __init__(self) -> None:
        self.calls = 0

    def changed(self) -> None:
        self.calls += 1


def test_they_are_called_until_their_objects_end() -> None:
    followers, kept = Followers(), Follower()
    followers.add(kept.changed)
    for _ in range(3):
        followers.add(Follower().changed)
    assert len(followers) == 1
    followers.call()
    followers.call()
    assert kept.calls == 2
    assert repr(followers) == "<Followers 1>"


def test_one_that_ends_while_others_are_called_is_left_out() -> None:
    followers, late = Followers(), [Follower()]

    class Ending(Follower):
        def changed(self) -> None:
            late.clear()

    ending = Ending()
    followers.add(ending.changed)
    followers.add(late[0].changed)
    followers.call()
    assert len(followers) == 1
