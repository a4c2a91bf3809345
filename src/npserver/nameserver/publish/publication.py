"""What a config publishes, for the compiler of the name server, which imports nothing else here without need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.nameserver.publish.zones import Publication

#: What a config publishes; None if no rule has `publish`.
PUBLICATION: PerCompilation[Publication | None] = PerCompilation(lambda _: None)
