"""Balancers: the target chosen for a request."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from npserver.upstream.balancers import (
    LeastLoad,
    LeastTime,
    Random,
    RendezvousHash,
    RoundRobin,
    TwoChoices,
    hash_seed,
    make_balancer,
)


@dataclass
class Candidate:
    identity: str
    effective_weight: float = 1.0
    load: int = 0
    response_time_s: float = 0.0

    @property
    def hash_seed(self) -> int:
        return hash_seed(self.identity)


def candidates(*shares: float) -> list[Candidate]:
    return [Candidate(f"http://10.0.0.{number}:80", share) for number, share in enumerate(shares)]


def names(balancer: object, among: list[Candidate], count: int) -> list[int]:
    assert isinstance(balancer, RoundRobin)
    return [among.index(balancer.choose(among, b"")) for _ in range(count)]


class TestRoundRobin:
    def test_equals_take_turns(self) -> None:
        assert names(RoundRobin(), candidates(1, 1, 1), 7) == [0, 1, 2, 0, 1, 2, 0]

    def test_weights_are_spread_evenly(self) -> None:
        assert names(RoundRobin(), candidates(5, 1, 1), 7) == [0, 0, 1, 0, 2, 0, 0]

    def test_one_that_leaves_and_returns_does_not_get_a_flood(self) -> None:
        balancer = RoundRobin()
        three = candidates(1, 1, 1)
        names(balancer, three, 4)
        names(balancer, three[:2], 100)
        assert Counter(names(balancer, three, 30)) == {0: 10, 1: 10, 2: 10}


class TestLeastTime:
    def choice(self, *of: tuple[float, int, float]) -> int:
        """Return the index of the choice among targets with these response times, loads and weights."""
        among = [Candidate(f"{number}", weight, load, time) for number, (time, load, weight) in enumerate(of)]
        return among.index(LeastTime().choose(among, b""))

    def test_the_expected_wait_decides(self) -> None:
        assert self.choice((0.2, 0, 1), (0.1, 0, 1)) == 1
        assert self.choice((0.2, 0, 1), (0.1, 1, 1), (0.05, 4, 1)) == 0
        assert self.choice((0.2, 0, 1), (0.1, 2, 1)) == 0
        assert self.choice((0.2, 0, 4), (0.1, 0, 1)) == 0

    def test_one_that_is_not_known_is_as_the_fastest(self) -> None:
        assert self.choice((0.2, 0, 1), (0.1, 1, 1), (0, 0, 1)) == 2
        assert self.choice((0.2, 0, 1), (0.1, 0, 1), (0, 1, 1)) == 1

    def test_equals_take_turns(self) -> None:
        balancer, among = LeastTime(), candidates(1, 1, 1)
        assert [among.index(balancer.choose(among, b"")) for _ in range(4)] == [0, 1, 2, 0]


class TestChance:
    def test_random_follows_the_weights(self) -> None:
        chance = random.Random(1)
        balancer = Random(chance.random)
        some = candidates(1, 3)
        counts = Counter(balancer.choose(some, b"").identity for _ in range(4000))
        assert counts[some[1].identity] / 4000 == pytest.approx(0.75, abs=0.03)

    def test_random_takes_the_last_at_the_end_of_the_scale(self) -> None:
        some = candidates(0.1, 0.2)
        assert Random(lambda: 0.9999999999999999).choose(some, b"") is some[1]

    def test_two_choices_takes_the_less_loaded(self) -> None:
        some = candidates(1, 1)
        some[0].load = 5
        assert all(TwoChoices(random.Random(seed).random).choose(some, b"") is some[1] for seed in range(20))

    def test_two_choices_of_one_is_that_one(self) -> None:
        some = candidates(1)
        assert TwoChoices(random.random).choose(some, b"") is some[0]


class TestLeastLoad:
    def test_load_counts_relative_to_weight(self) -> None:
        some = candidates(1, 4)
        some[0].load, some[1].load = 2, 7
        assert LeastLoad().choose(some, b"") is some[1]

    def test_equals_take_turns(self) -> None:
        balancer = LeastLoad()
        some = candidates(1, 1, 1)
        some[1].load = 9
        assert [some.index(balancer.choose(some, b"")) for _ in range(4)] == [0, 2, 0, 2]


class TestRendezvousHash:
    KEYS = tuple(f"192.0.2.{number}".encode() for number in range(256)) + tuple(b"%d" % n for n in range(1000))

    def test_the_same_key_has_the_same_target(self) -> None:
        some = candidates(1, 1, 1)
        for key in self.KEYS:
            assert RendezvousHash().choose(some, key) is RendezvousHash().choose(list(reversed(some)), key)

    def test_losing_a_target_moves_only_its_own(self) -> None:
        some = candidates(1, 1, 1, 1)
        before = {key: RendezvousHash().choose(some, key) for key in self.KEYS}
        after = {key: RendezvousHash().choose(some[:3], key) for key in self.KEYS}
        assert all(after[key] is target for key, target in before.items() if target is not some[3])
        assert sum(target is some[3] for target in before.values()) > 100

    def test_spread_follows_the_weights(self) -> None:
        some = candidates(1, 1, 2)
        counts = Counter(RendezvousHash().choose(some, key).identity for key in self.KEYS)
        assert counts[some[2].identity] / len(self.KEYS) == pytest.approx(0.5, abs=0.05)
        assert counts[some[0].identity] / len(self.KEYS) == pytest.approx(0.25, abs=0.05)

    def test_choice_is_the_same_in_every_process(self) -> None:
        some = candidates(1, 1, 1)
        assert [some.index(RendezvousHash().choose(some, key)) for key in self.KEYS[:8]] == [0, 1, 2, 2, 2, 1, 0, 0]


def test_every_name_of_the_config_has_a_balancer() -> None:
    some = candidates(1, 1)
    for name in ("round-robin", "random", "ip-hash", "conn-hash", "least-conn", "two-choices"):
        assert make_balancer(name, random.random).choose(some, b"key") in some
