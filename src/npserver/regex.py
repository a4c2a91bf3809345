"""Regular expressions that are compiled at their first use.

Compiling all sixty at import would take a twentieth of the start-up time, and most runs need a third of them. Patterns
that every request needs are compiled at import with `re`, before the workers are forked.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def regex(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return a stand-in for `re.compile(pattern, flags)` that compiles the pattern when a method is first used.

    The method is then stored as an attribute, so that later calls cost the same as with a compiled pattern.
    """
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))


class _LazyPattern:
    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __repr__(self) -> str:
        return f"<regex {self._arguments[0]!r}>"

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(*self._arguments), name)
        setattr(self, name, method)
        return method
