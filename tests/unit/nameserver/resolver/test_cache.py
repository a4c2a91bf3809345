"""The cache of resolvers' answers: what two workers share, what stays when it is full."""

from __future__ import annotations

from time import monotonic

import dns.message

from npserver.dns.message.query import Query
from npserver.nameserver.resolver.answer import Answer, Lifetimes, cache_key, failure, read_answer
from npserver.nameserver.resolver.cache import MAX_ANSWER_BYTES, MEAN_ANSWER_BYTES, Cache, CacheOfProcess
from npserver.nameserver.resolver.messages import make_query
from npserver.runtime.shared_values import SharedValues
from tests.stage.resolvers import answered, query


def key_of(asked: Query) -> bytes:
    return cache_key(b"group", asked, b"")


def answer_to(asked: Query, now: float = 0.0, ttl: int = 60) -> Answer:
    reply = answered(dns.message.from_wire(make_query(asked, 1)), ttl=ttl)
    answer = read_answer(asked, reply, now, Lifetimes())
    assert answer is not None
    return answer


def test_workers_find_the_answers_of_each_other() -> None:
    shared = SharedValues(16, b"seed")
    one, other = Cache(shared, 10), Cache(shared, 10)
    asked = query()
    answer = answer_to(asked)
    one.put(key_of(asked), answer)
    assert other.find(key_of(asked)) is None
    assert other.find_newer(key_of(asked), asked.question, None, 59.0) == answer
    assert other.find(key_of(asked)) == answer
    later = answer_to(asked, 55.0)
    one.put(key_of(asked), later)
    assert other.find_newer(key_of(asked), asked.question, answer, 56.0) == later
    assert other.find_newer(key_of(asked), asked.question, later, 56.0) is later
    assert Cache(shared, 10).find_newer(key_of(asked), asked.question, None, 116.0) is None


def test_failures_and_longer_answers_stay_with_a_worker() -> None:
    shared = SharedValues(16, b"seed")
    one, other = Cache(shared, 10), Cache(shared, 10)
    failed, long = query("failed.example"), query("long.example")
    first = failure(failed, 2, b"")
    first.until = 5.0
    second = answer_to(long)
    second.records += bytes(2000)
    one.put(key_of(failed), first)
    one.put(key_of(long), second)
    for asked in (failed, long):
        assert one.find(key_of(asked)) is not None
        assert other.find_newer(key_of(asked), asked.question, None, 1.0) is None


def test_what_another_wrote_is_not_believed_unless_it_fits() -> None:
    shared = SharedValues(16, b"seed")
    asked = query()
    shared.put(key_of(asked), b"not an answer", 100.0)
    cache = Cache(shared, 10)
    assert cache.find_newer(key_of(asked), asked.question, None, 1.0) is None


def test_an_answer_is_kept_after_its_end_only_as_long_as_it_may_be_stale() -> None:
    cache, asked = Cache(None, 10), query()
    answer = answer_to(asked)
    cache.put(key_of(asked), answer)
    assert cache.find_newer(key_of(asked), asked.question, answer, 60.0) is None
    assert len(cache) == 0
    cache.resize(10, 30.0)
    cache.put(key_of(asked), answer)
    assert cache.find_newer(key_of(asked), asked.question, answer, 89.0) is answer
    assert cache.find_newer(key_of(asked), asked.question, answer, 90.0) is None
    assert cache._bytes == 0


def test_a_full_cache_drops_the_oldest_that_is_not_in_use() -> None:
    cache = Cache(None, 3)
    asked = [query(f"n{number}.example.net") for number in range(6)]
    for one in asked[:3]:
        cache.put(key_of(one), answer_to(one))
    wanted = cache.find(key_of(asked[0]))
    assert wanted is not None
    wanted.is_wanted = True
    for one in asked[3:5]:
        cache.put(key_of(one), answer_to(one))
    assert [cache.find(key_of(one)) is not None for one in asked] == [True, False, False, True, True, False]
    cache.put(key_of(asked[5]), answer_to(asked[5]))
    assert cache.find(key_of(asked[0])) is None  # it was passed over once
    assert len(cache) == 3


def test_a_cache_is_bounded_by_number_and_by_size() -> None:
    for size in (0, 3):
        cache = Cache(None, size)
        for number in range(10):
            asked = query(f"n{number}.example.net")
            answer = answer_to(asked)
            answer.is_wanted = True
            cache.put(key_of(asked), answer)
        assert len(cache) == size
    cache = Cache(None, 100)
    for number in range(100):
        asked = query(f"n{number}.example.net")
        answer = answer_to(asked)
        answer.records = bytes(10_000)
        cache.put(key_of(asked), answer)
    assert len(cache) == 100 * MEAN_ANSWER_BYTES // 10_000
    asked = query("huge.example")
    answer = answer_to(asked)
    answer.records = bytes(MAX_ANSWER_BYTES + 1)
    cache.put(key_of(asked), answer)
    assert cache.find(key_of(asked)) is None
    cache.resize(2, 0.0)
    assert len(cache) == 2


def test_what_has_no_lifetime_is_not_cached() -> None:
    cache, asked = Cache(None, 3), query()
    cache.put(key_of(asked), answer_to(asked, ttl=0))
    assert len(cache) == 0


def test_the_cache_of_a_process_lasts_as_long_as_a_config_has_it() -> None:
    of_process = CacheOfProcess(SharedValues(4, b"seed"))
    cache = of_process.get()
    assert of_process.get() is cache
    cache.size = 7
    del cache
    assert of_process.get().size == 0


def test_what_was_learned_before_a_flush_is_not_used() -> None:
    """Neither that of this worker, once it heeds it, nor that of others; what is learned after is."""
    shared = SharedValues(16, b"seed")
    one, other = Cache(shared, 10), Cache(shared, 10)
    now = monotonic()
    asked = query()
    one.put(b"old", answer_to(asked, now=now - 10))
    other.put(b"kept", answer_to(asked, now=now - 10))
    shared.forget()
    assert other.find_newer(b"old", asked.question, None, now) is None
    for each in (one, other):
        each.heed_flush()
        assert len(each) == 0
    later = monotonic() + 1
    one.put(b"new", answer_to(asked, now=later))
    one.heed_flush()
    assert one.find(b"new") is not None
    assert other.find_newer(b"new", asked.question, None, later) is not None
