"""Did you mean: the known words closest to a misspelt one. Used by all that check names in a config or a command."""

from __future__ import annotations

from collections.abc import Iterable


def get_close_matches(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Give at most `count` of `known`, closest first. `difflib` is imported at the first mistake, not at each start."""
    import difflib

    return difflib.get_close_matches(word, list(known), count, cutoff)
