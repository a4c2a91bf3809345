"""The networks in `trusted_proxies`, whose `Forwarded` and `X-Forwarded-*` fields are trusted."""

from __future__ import annotations

from npserver.config.networks import compile_networks
from npserver.runtime.compilation import PerCompilation

#: The compiled networks; None if the config has none.
TRUSTED_PROXIES = PerCompilation(
    lambda compilation: compile_networks(compilation.report, ("trusted_proxies",), compilation.config.trusted_proxies)
)
