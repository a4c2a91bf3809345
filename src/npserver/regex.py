"""Regular expressions that are compiled at their first use.

Sixty of them compiled at import would take a twentieth of every start, and most starts need a third. What every request
needs is compiled at import all the same, before the workers are forked.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def regex(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Give what `re.compile` would, made later. The methods used become attributes: later uses cost nothing more."""
    return cast("re.Pattern[AnyStr]", _Later(pattern, flags))


class _Later:
    def __init__(self, *recipe: Any) -> None:
        self._recipe = recipe

    def __repr__(self) -> str:
        return f"<regex {self._recipe[0]!r}>"

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(*self._recipe), name)
        setattr(self, name, method)
        return method
