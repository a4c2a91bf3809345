"""The entries of `maps`."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, Section


class Map(Section, frozen=True, kw_only=True):
    """A variable whose value is looked up by that of another: `$map.name`."""

    from_: Annotated[str, D("text with `$variables` that is looked up, such as `$host`")] = field(name="from")
    to: Annotated[
        dict[str, str], D("values by text; a star stands for any characters; the text without stars comes first")
    ]
    default: Annotated[str, D("value for all other texts")] = ""
