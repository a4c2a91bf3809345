"""Traces of requests (`tracing`): whether a request is sampled, and the steps of a route that its trace is told of.

`web.compile_route` has each route traced by `Tracer.traced`. Without `tracing` there is no tracer.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.config.units import parse_percent
from npserver.errors import clip
from npserver.observe.tracing.exporter import EXPORTER
from npserver.observe.tracing.trace import Trace, shown_method
from npserver.observe.tracing.trace_context import parse_traceparent
from npserver.runtime.compilation import PerCompilation
from npserver.web.trace_collector import compile_collector
from npserver.web.trusted_proxies import TRUSTED_PROXIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npserver.networks import AddressSet
    from npserver.observe.tracing.exporter import SpanExporter
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Exchange, Middleware, Route

_MAX_HOST = 253  # characters of a host, which clients make up, that a span has


class _Step:
    """The request side of a middleware, of which the trace is told; or one of our own."""

    __slots__ = ("is_own", "name", "request")

    def __init__(self, name: str, request: Callable[[Exchange], None], *, is_own: bool = False) -> None:
        self.name = name
        self.request = request
        self.is_own = is_own

    def __call__(self, exchange: Exchange) -> None:
        trace = exchange.trace
        if trace is None or self.is_own:
            self.request(exchange)
            return
        stage = trace.enter(self.name)
        self.request(exchange)
        trace.leave_to_wait(stage)


def untraced(requests: Sequence[Callable[[Exchange], None]]) -> Sequence[Callable[[Exchange], None]]:
    """Return the request sides of a route without ours: for questions about a config, which are no requests."""
    steps = [one if not isinstance(one, _Step) else None if one.is_own else one.request for one in requests]
    return [one for one in steps if one is not None]


class Tracer:
    """Begins the traces of one config.

    Args:
        exporter: sends the spans.
        share: of the requests that are sampled, 0 to 1.
        trusted: the clients whose traces are continued, with what they say of sampling; None: none but by `trusts_all`.
        trusts_all: all clients.
    """

    def __init__(
        self, exporter: SpanExporter, share: float, trusted: AddressSet | None, *, trusts_all: bool = False
    ) -> None:
        self._exporter = exporter
        self._share = share
        self._trusted = trusted
        self._trusts_all = trusts_all

    def traced(self, route: Route, middleware: Sequence[tuple[str, Middleware]]) -> Route:
        """Return the route with steps that tell the trace of each request. `middleware`: the rule's, by name."""
        names = {id(one): name for name, one in middleware}

        def begin(exchange: Exchange) -> None:
            self._begin(exchange, route)
            exchange.proceed()

        def hand_over(exchange: Exchange) -> None:
            if exchange.trace is not None:
                exchange.trace.enter("")
            exchange.proceed()

        sides = [_Step(names.get(id(getattr(one, "__self__", None)), "middleware"), one) for one in route.requests]
        steps = (_Step("", begin, is_own=True), *sides, _Step("", hand_over, is_own=True))
        return replace(route, requests=steps, prepared=None, direct=None, is_guarded=True)

    def _begin(self, exchange: Exchange, route: Route) -> None:
        if exchange.trace is not None:
            return  # another route has begun it
        parent = None
        if self._trusts_all or (self._trusted is not None and exchange.peer_ip in self._trusted):
            parent = parse_traceparent(exchange.request.fields.get(b"traceparent", b""))
        is_sampled = parent.is_sampled if parent is not None else random() < self._share
        trace = exchange.trace = Trace(self._exporter, parent, is_sampled=is_sampled)
        if not is_sampled:
            return

        def ended() -> None:
            request, rule = exchange.request, route.rule_name or route.key
            method = shown_method(request.method)
            attributes: dict[str, str | int] = {
                "http.request.method": method,
                "url.scheme": exchange.scheme,
                "url.path": clip(request.path)[1:-1],
                "server.address": clip(request.host, _MAX_HOST)[1:-1],
                "client.address": exchange.client_ip,
                "network.protocol.version": "2" if request.is_http2 else "3" if request.is_http3 else "1.1",
                "npserver.rule": rule,
            }
            trace.end(f"{method} {rule}", attributes)

        exchange.watch_end(ended)


def _compile(compilation: Compilation) -> Tracer | None:
    section, report = compilation.config.tracing, compilation.report
    if section is None:
        return None
    collector = compile_collector(compilation, section)
    share = 0.0
    try:
        share = parse_percent(section.sample)
    except ValueError as error:
        report.error(("tracing", "sample"), str(error))
    trusted = TRUSTED_PROXIES.of(compilation) if section.parent == "trusted" else None
    exporter = EXPORTER.of(compilation.context)

    def activate() -> None:
        exporter.use(collector)

    compilation.activations.append(activate)
    return Tracer(exporter, share, trusted, trusts_all=section.parent == "all")


#: The tracer of a config; None without `tracing`.
TRACER = PerCompilation(_compile)
