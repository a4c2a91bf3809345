"""The text of an imported config: JSON with comments."""

from __future__ import annotations

import json
import re
from typing import Any

from npserver.importing.draft import Draft
from npserver.importing.listeners import finish_certificates

_WIDTH = 110
#: What the config's loader would replace, other than variables of requests: no nginx config means that.
_REFERENCE = re.compile(r"\$\{(?![a-z]\w*(?:\.[\w-]+)?\})")


def write(draft: Draft, source: str) -> str:
    """Return the config as text. Comments have one line each, whatever the directives hold."""
    said: set[str] = set()
    lines = ["{", f"  // imported from {_one_line(source)}"]
    lines += _comments(draft.comments, said, "  ")
    certificates = finish_certificates(draft)
    listeners = [entry["uri"] if len(entry) == 1 else entry for entry in draft.listeners.values()]
    lines.append(f'  "listen": {_value(listeners, 2)},')
    if certificates:
        lines.append(f'  "tls": {_value(certificates, 2)},')
    if draft.upstreams:
        lines.append(f'  "upstreams": {_value(draft.upstreams, 2)},')
    lines += [f"  {_value(key, 0)}: {_value(value, 2)}," for key, value in draft.top.items()]
    lines.append('  "dispatch": [')
    for rule in draft.rules:
        lines += _comments(rule.comments, said, "    ")
        lines.append(f"    {_value(rule.keys, 4)},")
    lines += ["  ],", "}"]
    return "\n".join(lines) + "\n"


def _comments(comments: list[str], said: set[str], indent: str) -> list[str]:
    """Return the lines for comments; what is inherited is said once."""
    new = [comment for comment in dict.fromkeys(comments) if comment not in said]
    said.update(new)
    return [f"{indent}// {_one_line(comment)}" for comment in new]


def _value(value: Any, indent: int) -> str:
    """Return a value on one line if it fits, else with a line for each part."""
    short = _REFERENCE.sub("$${", json.dumps(value))
    if isinstance(value, dict) and value:
        short = "{ " + ", ".join(f"{_value(key, 0)}: {_value(one, 0)}" for key, one in value.items()) + " }"
    if len(short) + indent <= _WIDTH or not isinstance(value, dict | list) or not value or not indent:
        return short
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{pad}{_value(key, 0)}: {_value(one, indent + 2)}" for key, one in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    parts = [f"{pad}{_value(one, indent + 2)}" for one in value]
    return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"


def _one_line(comment: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in comment)
