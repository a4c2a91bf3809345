"""`trusted_proxies`: the networks whose `Forwarded` and `X-Forwarded-*` fields are believed."""

from __future__ import annotations

from npserver.config.networks import compile_networks
from npserver.runtime.compilation import PerCompilation

#: None when the config names none.
TRUSTED_PROXIES = PerCompilation(
    lambda compilation: compile_networks(compilation.report, ("trusted_proxies",), compilation.config.trusted_proxies)
)
