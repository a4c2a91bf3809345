"""Sends shares of a rule's requests to other upstreams (`split`), such as a few per cent to a new version.

A client stays with its upstream: the hash of `split_by` decides, in all workers and after a restart alike. When a share
grows, only clients that come to it move.
"""

from __future__ import annotations

from bisect import bisect_right
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from npserver.config.units import parse_percent
from npserver.errors import clip
from npserver.web.maps.compile import MAPS
from npserver.web.variables import compile_template, is_constant, variable_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.cache.handler import CacheHandler
    from npserver.web.handlers.proxy.config import ProxyRule
    from npserver.web.handlers.proxy.handler import ProxyHandler
    from npserver.web.variables import Template

    PartHandler: TypeAlias = ProxyHandler | CacheHandler
    CompileOne = Callable[[Compilation, Path, ProxyRule, Path], PartHandler | None]


class SplitHandler:
    """Chooses one of several proxies for each request, by a hash."""

    __slots__ = ("_bounds", "_handlers", "_key", "redirects_to_slash")

    def __init__(self, key: Template, shares: Sequence[float], handlers: Sequence[PartHandler]) -> None:
        """Create it. `shares` are of the first handlers, parts of 1; the last handler gets the rest."""
        self._key = key
        self._bounds = list(accumulate(shares))
        self._handlers = tuple(handlers)
        self.redirects_to_slash = handlers[-1].redirects_to_slash

    def __repr__(self) -> str:
        return f"<SplitHandler {self._bounds} {self._handlers}>"

    def choose(self, exchange: Exchange) -> PartHandler:
        """Return the handler that the client belongs to."""
        key = self._key(exchange) or exchange.client_ip
        return self._handlers[bisect_right(self._bounds, place_of(key.encode("utf-8", "replace")))]

    def handle(self, exchange: Exchange) -> None:
        """Forward the request by the handler that the client belongs to."""
        self.choose(exchange).handle(exchange)


def place_of(key: bytes) -> float:
    """Return the place of a key between 0 and 1, evenly spread and always the same."""
    return int.from_bytes(blake2b(key, digest_size=6, person=b"split").digest(), "big") / (1 << 48)


def compile_split(
    compilation: Compilation, path: Path, rule: ProxyRule, last: PartHandler | None, compile_one: CompileOne
) -> SplitHandler | None:
    """Make the handler of a rule with `split`; None if it has errors, which stand in the report.

    `last`: the handler that gets the rest, that of `proxy_pass`. `compile_one`: makes the handler for one upstream.
    """
    report = compilation.report
    shares: list[float] = []
    handlers = [] if last is None else [last]
    for uri, text in rule.split.items():
        place = (*path, "split", uri)
        if uri == rule.proxy_pass:
            report.error(place, f"{clip(uri)} is 'proxy_pass' too, which gets the rest: remove it here")
        try:
            shares.append(parse_percent(text))
        except ValueError as error:
            report.error(place, str(error))
        handler = compile_one(compilation, path, replace(rule, proxy_pass=uri), place)
        if handler is not None:
            handlers.insert(len(handlers) - 1, handler)
    if sum(shares) > 1 + 1e-9:
        report.error((*path, "split"), f"the shares are {100 * sum(shares):g}% together: more than there is")
    try:
        key = compile_template(rule.split_by, MAPS.of(compilation))
    except ValueError as error:
        report.error((*path, "split_by"), str(error))
        return None
    if is_constant(rule.split_by):
        report.error((*path, "split_by"), f"all clients would get the same: {clip(rule.split_by)} has no $variable")
    elif "upstream" in variable_names(rule.split_by):
        report.error((*path, "split_by"), "$upstream is empty: it is the target, which is chosen later")
    if last is None or len(handlers) != len(shares) + 1:
        return None
    return SplitHandler(key, shares, handlers)
