"""Replies of resolvers: any bytes are none, or an answer that clients get well-formed, and none that leads inside.

The oracle and the seeds are those of `fuzz.dns_reply`.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz.dns_reply as target

SEEDS = target.seeds()


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=500)
def test_replies_with_a_byte_changed(seed: bytes, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(seed) - 1))
    target.check(seed[:place] + draw.draw(st.binary(max_size=2)) + seed[place + 1 :])


def test_the_seeds_are_fine() -> None:
    for seed in SEEDS:
        target.check(seed)
