"""The cache of resolvers' answers: a table of this worker, and behind it one that all workers share.

An answer that any worker has got is found by all of them, also after a reload that leaves the resolvers as they are: a
key names whom was asked (`nameserver.resolver.answer.cache_key`). Both tables are bounded. A full one drops the oldest
answer, unless it was asked for since: names that are asked for once do not drive out those in use.
"""

from __future__ import annotations

import weakref
from struct import error as StructError  # noqa: N812 - an exception
from typing import TYPE_CHECKING

from npserver.nameserver.resolver.answer import Answer, unpack
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.runtime.shared_values import SharedValues

MAX_ANSWER_BYTES = 16 << 10  # longer ones are not cached
MEAN_ANSWER_BYTES = 2048  # the answers of a full cache have at most that in the mean
MAX_SPARED = 8  # answers in use that are passed over while the oldest is looked for


class Cache:
    """The cache of one process."""

    __slots__ = ("__weakref__", "_answers", "_bytes", "_forgotten_at", "_shared", "size", "stale_s")

    def __init__(self, shared: SharedValues | None = None, size: int = 0) -> None:
        self.size = size  # number of answers in the table of this worker; 0: nothing is cached
        self.stale_s = 0.0  # how long answers are kept after their end
        self._answers: dict[bytes, Answer] = {}
        self._bytes = 0
        self._shared = shared
        self._forgotten_at = 0.0 if shared is None else shared.forgotten_at

    def __repr__(self) -> str:
        return f"<Cache {len(self._answers)} of {self.size}>"

    def __len__(self) -> int:
        return len(self._answers)

    def resize(self, size: int, stale_s: float) -> None:
        """Set the number of answers in the table of this worker, and how long they are kept after their end."""
        self.size = size
        self.stale_s = stale_s
        while len(self._answers) > size:
            self._drop(next(iter(self._answers)))

    def heed_flush(self) -> None:
        """Drop all answers if `npserver dns flush` has said so since this was last called."""
        if self._shared is not None and self._shared.forgotten_at != self._forgotten_at:
            self._forgotten_at = self._shared.forgotten_at
            self._answers.clear()
            self._bytes = 0

    def find(self, key: bytes) -> Answer | None:
        """Return the answer that this worker has; it may have ended."""
        return self._answers.get(key)

    def find_newer(self, key: bytes, question: bytes, known: Answer | None, now: float) -> Answer | None:
        """Return the answer that any worker has, if it is newer than `known`; else that, if it is not too old."""
        data = self._shared.get(key, now) if self._shared is not None and self.size else None
        if data is not None and self._shared is not None:
            try:
                answer = unpack(data, question)
            except (ValueError, StructError):
                answer = None
            if answer is not None and answer.since < self._shared.forgotten_at:
                answer = None
            if answer is not None and (known is None or answer.since > known.since):
                self._store(key, answer)
                return answer
        if known is not None and now >= known.until + self.stale_s:
            self._drop(key)
            return None
        return known

    def put(self, key: bytes, answer: Answer) -> None:
        """Cache an answer, here and for the other workers."""
        if not self.size or answer.until <= answer.since or answer.size > MAX_ANSWER_BYTES:
            return
        self._store(key, answer)
        if self._shared is not None and not answer.is_failure:
            self._shared.put(key, answer.pack(), answer.until + self.stale_s)

    def _store(self, key: bytes, answer: Answer) -> None:
        self._drop(key)
        spared = 0
        answers = self._answers
        while answers and (
            len(answers) >= self.size
            or self._bytes + answer.size > max(self.size * MEAN_ANSWER_BYTES, MAX_ANSWER_BYTES)
        ):
            oldest = next(iter(answers))
            one = answers.pop(oldest)
            if one.is_wanted and spared < MAX_SPARED:
                spared += 1
                one.is_wanted = False
                answers[oldest] = one
            else:
                self._bytes -= one.size
        answers[key] = answer
        self._bytes += answer.size

    def _drop(self, key: bytes) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= answer.size


class CacheOfProcess:
    """The cache of a process: it outlives a config if the next one has resolvers, too."""

    __slots__ = ("_cache", "_shared")

    def __init__(self, shared: SharedValues) -> None:
        self._shared = shared
        self._cache: weakref.ref[Cache] | None = None

    def get(self) -> Cache:
        """Return the cache; it lasts as long as somebody holds it."""
        found = self._cache() if self._cache is not None else None
        if found is None:
            found = Cache(self._shared)
            self._cache = weakref.ref(found)
        return found


CACHE = PerProcess(lambda context: CacheOfProcess(context.row.board.answers))
