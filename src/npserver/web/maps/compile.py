"""Compiles `maps` into variables, `$map.name`, for the templates of a config."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.runtime.compilation import PerCompilation
from npserver.web.checks import CONTROL
from npserver.web.matching.values import make_glob
from npserver.web.variables import compile_template, is_constant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Exchange
    from npserver.web.maps.config import Map
    from npserver.web.variables import Template

_NAME = regex(r"[\w-]+", re.ASCII)


def _compile_maps(compilation: Compilation) -> Mapping[str, Template]:
    found: dict[str, Template] = {}
    for name, section in compilation.config.maps.items():
        if not _NAME.fullmatch(name):
            message = f"{clip(name)} is not a name of a map; write letters, digits, _ and - as in $map.name"
            compilation.report.error(("maps", name), message)
        elif (template := _compile_map(compilation, name, section)) is not None:
            found[f"map.{name}"] = template
    return found


def _compile_map(compilation: Compilation, name: str, section: Map) -> Template | None:
    report, place = compilation.report, ("maps", name)
    for text, value in (*section.to.items(), ("", section.default)):
        if CONTROL.search(value):
            where = (*place, "to", text) if text in section.to else (*place, "default")
            report.error(where, f"control character in the value {clip(value)}")
        elif _has_variables(value):
            where = (*place, "to", text) if text in section.to else (*place, "default")
            report.warn(where, f"{clip(value)} is sent as it is: values of maps have no variables")
    if is_constant(section.from_):
        report.warn((*place, "from"), f"'from': {clip(section.from_)} has no $variable: $map.{name} is always the same")
    stars = [make_glob(text) for text in section.to if "*" in text]
    for at, glob in enumerate(stars):
        if (first := next((one for one in stars[:at] if one.has(glob.text.replace("*", "\0"))), None)) is not None:
            message = f"{clip(glob.text)} is never found: {clip(first.text)} comes first; put it below"
            report.warn((*place, "to", glob.text), message)
    if not section.to:
        report.warn((*place, "to"), f"'to' is empty: $map.{name} is always {clip(section.default)}")
    try:
        template = compile_template(section.from_)
    except ValueError as error:
        report.error((*place, "from"), f"'from': {error}")
        return None
    exact = {text: value for text, value in section.to.items() if "*" not in text}
    globs = [(make_glob(text), value) for text, value in section.to.items() if "*" in text]
    default = section.default

    def look_up(exchange: Exchange) -> str:
        text = template(exchange)
        value = exact.get(text)
        if value is None:
            value = next((value for glob, value in globs if glob.has(text)), default)
        return value

    return look_up


def _has_variables(text: str) -> bool:
    """Whether a text has variables that there are."""
    try:
        compile_template(text)
    except ValueError:
        return False
    return not is_constant(text)


#: The variables of a config's maps, by name: `map.backend`.
MAPS = PerCompilation(_compile_maps)
