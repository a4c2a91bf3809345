"""Give rules the keys of the sets in `defaults` that their `use` names.

Called by `config.assemble` when all files are merged, before anything is decoded. A later name wins over an earlier
one, and the rule's own keys over all; values are replaced whole. A key that a rule gets this way stands where its set
has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.guess import get_close_matches

if TYPE_CHECKING:
    from npserver.config.assembled import Assembled
    from npserver.config.jsonc import Path

DEFAULTS, USE, RULES = "defaults", "use", "dispatch"


def apply_defaults(whole: Assembled) -> None:
    """Add the keys to the rules, and remove `defaults`. What is wrong is in the problems of `whole`."""
    sets = _sets(whole)
    rules = whole.value.get(RULES)
    used: set[str] = set()
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict) and USE in rule:
            path: Path = (RULES, index)
            names = _names(whole, (*path, USE), rule[USE], sets)
            used.update(names)
            rules[index] = _combined(whole, path, rule, names, sets)
    whole.unused = tuple(name for name in sets if name not in used)


def _sets(whole: Assembled) -> dict[str, Any]:
    """Return the sets by name, without those that are not objects."""
    sets = whole.value.pop(DEFAULTS, None)
    if sets is None:
        return {}
    if not isinstance(sets, dict):
        whole.add((DEFAULTS,), f"'{DEFAULTS}': expected an object, got {clip(sets)}")
        return {}
    for name, keys in sets.items():
        if not isinstance(keys, dict):
            message = f"{clip(name)}: expected an object with keys of rules, got {clip(keys)}"
            whole.add((DEFAULTS, name), message)
        elif USE in keys:
            whole.add((DEFAULTS, name, USE), f"{clip(name)}: a set cannot use another: name both in the rules")
    return {name: keys if isinstance(keys, dict) else {} for name, keys in sets.items()}


def _names(whole: Assembled, path: Path, value: Any, sets: dict[str, Any]) -> list[str]:
    """Return the sets that a rule uses. The decoder tells of values that are not texts."""
    places = [(path, value)] if isinstance(value, str) else []
    if isinstance(value, list):
        places = [((*path, index), one) for index, one in enumerate(value) if isinstance(one, str)]
    for place, name in places:
        if name not in sets:
            close = get_close_matches(name, sets, 1)
            hint = (
                f"did you mean {close[0]!r}?" if close else "define it there" if sets else f'there is no "{DEFAULTS}"'
            )
            whole.add(place, f"'{DEFAULTS}' has no {clip(name)}: {hint}")
    return [name for _, name in places if name in sets]


def _combined(whole: Assembled, path: Path, rule: dict[str, Any], names: list[str], sets: dict[str, Any]) -> Any:
    """Return a rule with the keys of its sets."""
    combined: dict[str, Any] = {}
    for name in names:
        for key, value in sets[name].items():
            if key not in rule and key != USE:
                combined[key] = value
                whole.merged_places().add_moved((*path, key), (DEFAULTS, name, key))
    return combined | rule
