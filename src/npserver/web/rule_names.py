"""Names of rules that outlive a reload which adds or removes other rules, for what is counted over a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule

_NAMES: PerCompilation[dict[Path, str]] = PerCompilation(lambda _: {})  # by a rule's path in the config
_ALIKE: PerCompilation[dict[str, int]] = PerCompilation(lambda _: {})  # how many rules have been given each name


def lasting_name(compilation: Compilation, path: Path, rule: HttpRule) -> str:
    """Return the rule's `name`, else its hosts and path; of rules with the same, the order tells them apart."""
    names = _NAMES.of(compilation)
    if path not in names:
        hosts = [rule.host] if isinstance(rule.host, str) else rule.host or []
        name = rule.name or f"{','.join(hosts)}{rule.path_regex or rule.path}"
        alike = _ALIKE.of(compilation)
        alike[name] = number = alike.get(name, 0) + 1
        if number > 1:
            name = f"{name} #{number}"
            alike[name] = alike.get(name, 0) + 1  # another rule may be called that
        names[path] = name
    return names[path]
