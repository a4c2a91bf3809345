"""Suggestions for misspelt names ("did you mean ..."), for all checks of config keys, references and commands."""

from __future__ import annotations

from collections.abc import Iterable


def get_close_matches(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return at most `count` of the `known` words that resemble `word`, closest first.

    Args:
        word: the misspelt word.
        known: the words to choose from.
        count: how many to return at most.
        cutoff: the least similarity, 0 to 1.
    """
    import difflib  # slow to import, and needed only after a mistake

    return difflib.get_close_matches(word, list(known), count, cutoff)
