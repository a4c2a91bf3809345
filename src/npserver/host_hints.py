"""Hints at patterns of host names that match other hosts than expected, or none: nginx's words, ports, several in one.

Pure. `web.compile` asks it about `host`, `forward.compile` about `sni`, `tls.compile` about `names`.
"""

from __future__ import annotations

from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.regex import regex

_NAME = regex(r"(?:\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])\.?")
_PORT = regex(r"(.+):\d*")


def hint_at_host(key: str, text: str, *, ignores_port: bool) -> str:
    """Return what is surprising about a pattern that is valid, and what to write instead; "" for nothing.

    `ignores_port`: whether the port in a pattern is left out of the comparison; otherwise nothing matches it.
    """
    try:
        name = to_ascii(text).lower()
    except ValueError:
        return ""  # reported where the pattern is parsed
    if name in ("*", "") or (_NAME.fullmatch(name) and name != "_"):
        return ""
    found = f"{key!r}: {clip(text)}"
    if name == "_":
        return f"{found} is the name of no host: for any, as in nginx, leave {key!r} out"
    if match := _PORT.fullmatch(name):
        rest = clip(match[1])
        if ignores_port:
            return f"{found} is the same as {rest}, on every port: for one port, name its listener by 'listener'"
        return f"{found} matches nothing: server names have no port, write {rest}"
    parts = [part for part in name.replace(",", " ").split() if part]
    if len(parts) > 1:
        names = ", ".join([f'"{part}"' for part in parts])
        return f"{found} is taken for one name: write a list, {clip(f'[{names}]')[1:-1]}"
    bare = name.removeprefix(".")
    if bare != name and _NAME.fullmatch(bare):
        return f'{found} matches nothing: for this host and those below it, write ["{bare}", "*.{bare}"]'
    return f"{found} matches nothing: it cannot be the name of a host"
