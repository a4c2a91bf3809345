"""Ways to choose one of several targets. `upstream.group` gives only the targets that may be used now.

A balancer lives in one worker. What must hold over all workers (loads) comes from the candidates themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Protocol, TypeVar

_MASK = (1 << 64) - 1


class Candidate(Protocol):
    """A target that may be used now."""

    @property
    def identity(self) -> str:
        """What tells it from the others, the same after a restart."""

    @property
    def hash_seed(self) -> int:
        """`hash_seed(identity)`, computed once."""

    @property
    def effective_weight(self) -> float:
        """Its present weight, above 0: less than the configured one while it is eased in."""

    @property
    def load(self) -> int:
        """Connections and requests in flight over all workers."""


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """Chooses. `key` is what stays together on one target: the client's address or the connection."""

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Choose one of `candidates`, of which there is at least one."""


class RoundRobin:
    """Each in turn, the heavier more often but evenly spread (nginx's smooth weighted round-robin)."""

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Give everyone credit by weight, choose the richest, who pays for all."""
        credit = self._credit
        total = 0.0
        best = candidates[0]
        best_credit = float("-inf")
        for one in candidates:
            weight = one.effective_weight
            total += weight
            own = credit[one.identity] = credit.get(one.identity, 0.0) + weight
            if own > best_credit + 1e-9:
                best, best_credit = one, own
        credit[best.identity] -= total
        return best


class Random:
    """By chance, in proportion to the weights."""

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Throw a dart at the weights laid side by side."""
        point = self._random() * sum([one.effective_weight for one in candidates])
        for one in candidates:
            point -= one.effective_weight
            if point < 0:
                return one
        return candidates[-1]


class LeastLoad:
    """The one with the fewest in flight for its weight; equals take turns."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Look at all of them."""
        loads = [one.load / one.effective_weight for one in candidates]
        least = min(loads)
        equals = [one for one, load in zip(candidates, loads, strict=True) if load == least]
        return equals[0] if len(equals) == 1 else self._turns.choose(equals, key)


class TwoChoices:
    """The less loaded of two taken by chance: nearly as even as looking at all, with no herd running to one."""

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Take two different ones by weight, then the one with less load for its weight."""
        dart = Random(self._random)
        first = dart.choose(candidates, key)
        others = [one for one in candidates if one is not first]
        if not others:
            return first
        second = dart.choose(others, key)
        return second if second.load / second.effective_weight < first.load / first.effective_weight else first


class RendezvousHash:
    """Always the same target for the same key, by weighted rendezvous hashing.

    Each target draws a number from the key and its own identity, and the highest wins: so losing a target moves only
    its own keys, and its return brings back only them.
    """

    __slots__ = ()

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Let them draw."""
        drawn = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
        best = candidates[0]
        best_score = -1.0
        for one in candidates:
            mixed = ((drawn ^ one.hash_seed) * 0xBF58476D1CE4E5B9) & _MASK  # the finalizer of splitmix64
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
            mixed ^= mixed >> 31
            score = -one.effective_weight / log((mixed + 0.5) / 2**64) if mixed < _MASK else float("inf")
            if score > best_score:
                best, best_score = one, score
        return best


def hash_seed(identity: str) -> int:
    """The number that `RendezvousHash` mixes with keys."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=8, person=b"target").digest(), "little")


def make_balancer(name: str, random: Callable[[], float]) -> Balancer:
    """Make the balancer that the config calls `name`. Raises: KeyError."""
    makers: dict[str, Callable[[], Balancer]] = {
        "round-robin": RoundRobin,
        "random": lambda: Random(random),
        "ip-hash": RendezvousHash,
        "conn-hash": RendezvousHash,
        "least-conn": LeastLoad,
        "two-choices": lambda: TwoChoices(random),
    }
    return makers[name]()
