"""Load-balancing methods: each chooses one of several targets.

Each worker has balancers of its own. `upstream.group` passes them only the targets that may be used now; the load of a
target counts all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Protocol, TypeVar

_MASK = (1 << 64) - 1


class Candidate(Protocol):
    """A target as balancers see it: `upstream.target.Target`."""

    @property
    def identity(self) -> str:
        """A text that no other target has, and that stays the same after a restart."""

    @property
    def hash_seed(self) -> int:
        """The result of `hash_seed(identity)`, computed once."""

    @property
    def effective_weight(self) -> float:
        """The current weight, above 0: less than the configured one during a slow start."""

    @property
    def load(self) -> int:
        """The number of active connections and requests over all workers."""

    @property
    def response_time_s(self) -> float:
        """The time that the target has lately taken to respond, as this worker has measured it; 0: not known."""


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """A load-balancing method."""

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Return one of `candidates`, which are not empty.

        `key` stands for the client or its connection; methods that hash choose the same target for the same key.
        """


class RoundRobin:
    """Smooth weighted round-robin, as in nginx: targets of greater weight come more often, spread evenly."""

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Add its weight to the credit of each candidate, and take the sum from the one with the most credit."""
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
    """Random choice, in proportion to the weights."""

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Return the candidate at a random point of the sum of all weights."""
        point = self._random() * sum([one.effective_weight for one in candidates])
        for one in candidates:
            point -= one.effective_weight
            if point < 0:
                return one
        return candidates[-1]


class LeastLoad:
    """Fewest active connections and requests relative to the weight; targets of equal load take turns."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Return a candidate of the least load relative to its weight."""
        loads = [one.load / one.effective_weight for one in candidates]
        least = min(loads)
        equals = [one for one, load in zip(candidates, loads, strict=True) if load == least]
        return equals[0] if len(equals) == 1 else self._turns.choose(equals, key)


class LeastTime:
    """Shortest expected wait: the response time, times the requests that would then be active, relative to the weight.

    A target whose time is not known is taken for as fast as the fastest one.
    """

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Return a candidate with the shortest expected wait; equal ones take turns."""
        times = [one.response_time_s for one in candidates]
        fastest = min([time for time in times if time], default=1.0)
        waits = [
            (time or fastest) * (one.load + 1) / one.effective_weight
            for one, time in zip(candidates, times, strict=True)
        ]
        least = min(waits)
        equals = [one for one, wait in zip(candidates, waits, strict=True) if wait == least]
        return equals[0] if len(equals) == 1 else self._turns.choose(equals, key)


class TwoChoices:
    """The power of two choices: the less loaded of two random targets.

    Loads become nearly as even as with `LeastLoad`, and many clients at once do not all choose the same target.
    """

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Draw two different candidates by weight, and return the one of less load relative to its weight."""
        draw = Random(self._random)
        first = draw.choose(candidates, key)
        others = [one for one in candidates if one is not first]
        if not others:
            return first
        second = draw.choose(others, key)
        return second if second.load / second.effective_weight < first.load / first.effective_weight else first


class RendezvousHash:
    """Weighted rendezvous hashing: always the same target for the same key.

    Each target has a score, computed from the key and the target's identity, and the highest score wins. When a target
    is lost, only its own keys move to others; when it returns, only these move back.
    """

    __slots__ = ()

    def choose(self, candidates: Sequence[C], key: bytes) -> C:
        """Return the candidate with the highest score for `key`."""
        key_hash = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
        best = candidates[0]
        best_score = -1.0
        for one in candidates:
            mixed = ((key_hash ^ one.hash_seed) * 0xBF58476D1CE4E5B9) & _MASK  # the finalizer of splitmix64
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
            mixed ^= mixed >> 31
            score = -one.effective_weight / log((mixed + 0.5) / 2**64) if mixed < _MASK else float("inf")
            if score > best_score:
                best, best_score = one, score
        return best


def hash_seed(identity: str) -> int:
    """Return the 64-bit number of a target that `RendezvousHash` combines with the hash of a key."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=8, person=b"target").digest(), "little")


def make_balancer(name: str, random: Callable[[], float]) -> Balancer:
    """Return a new balancer for a value of `balance`. Raises: KeyError."""
    makers: dict[str, Callable[[], Balancer]] = {
        "round-robin": RoundRobin,
        "random": lambda: Random(random),
        "ip-hash": RendezvousHash,
        "conn-hash": RendezvousHash,
        "hash": RendezvousHash,
        "least-conn": LeastLoad,
        "least-time": LeastTime,
        "two-choices": lambda: TwoChoices(random),
    }
    return makers[name]()
