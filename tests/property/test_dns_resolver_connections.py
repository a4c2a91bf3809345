"""Connections to resolvers: any split of a stream equals one feed, and nothing that a resolver sends raises.

The oracle and the seeds are those of `fuzz.dns_resolver`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import dns_resolver
from fuzz.dns_resolver import NAMES, SETTINGS_BYTES, Channel, Numbers, check, seeds
from npserver.nameserver.resolver import stream_connection
from npserver.nameserver.resolver.https_connection import HttpsConnection
from npserver.nameserver.resolver.stream_connection import StreamConnection

SEEDS = seeds()
WHOLE = (SEEDS[0], SEEDS[1], SEEDS[2])  # with answers to all questions


def feed(seed: bytes, places: list[int]) -> list[int]:
    """Give a stream in pieces that end at these places. Return how often each question was answered."""
    Numbers.number = 0
    kind: Any = HttpsConnection if seed[0] & 1 else StreamConnection
    channel = Channel(kind)
    data = seed[1:]
    ends = sorted({SETTINGS_BYTES + place % (len(data) - SETTINGS_BYTES) for place in places} | {len(data)})
    if kind is HttpsConnection:
        ends.insert(0, SETTINGS_BYTES)  # no answer comes before its question is sent
    start = 0
    for end in ends:
        channel.connection.data_received(data[start:end])
        start = end
    assert not channel.connection.is_closed
    channel.connection.close()
    return [one.ended for one in channel.exchanges]


@pytest.fixture(autouse=True)
def ids_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_connection, "secrets", Numbers)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_of_a_stream_is_answered_alike(seed: bytes, places: list[int]) -> None:
    assert feed(seed, places) == [1] * len(NAMES)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2000), st.binary(max_size=40), st.integers(0, 40))
def test_nothing_that_a_resolver_sends_raises(seed: bytes, place: int, extra: bytes, dropped: int) -> None:
    at = place % len(seed) + 1
    check(seed[:at] + extra + seed[at + dropped :])


def test_the_seeds_are_fine() -> None:
    for seed in dns_resolver.seeds():
        check(seed)
