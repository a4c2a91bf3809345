"""Feeds mutated seeds to a parser for a while: `run(target, seeds)`.

A target takes bytes and raises nothing but what its parser documents; anything else is a finding, and the input that
made it is printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence


def mutate(data: bytes, dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return `data` with a few changes: bits flipped, pieces dropped, repeated, inserted or taken from other seeds."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(out) + 1)
        match dice.randrange(5):
            case 0 if out:
                out[place % len(out)] = dice.randrange(256)
            case 1:
                del out[place : place + dice.randint(1, 8)]
            case 2:
                out[place:place] = out[place : place + dice.randint(1, 32)]
            case 3:
                out[place:place] = bytes(dice.choices(b"\r\n\0\t :;,0aF%/.\xff\xc0", k=dice.randint(1, 4)))
            case _:
                out[place:] = dice.choice(seeds)[dice.randrange(8) :]
    return bytes(out)


def run(target: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    """Fuzz `target` for `--seconds` (default 10) from `--seed`."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=None)
    chosen = options.parse_args()
    dice = random.Random(chosen.seed)
    end = time.monotonic() + chosen.seconds
    tries = 0
    while time.monotonic() < end:
        data = mutate(dice.choice(seeds), dice, seeds)
        try:
            target(data)
        except Exception:
            print(f"found by: {data!r}", file=sys.stderr)
            raise
        tries += 1
    print(f"{tries} inputs, no finding")
