"""What a handler answers, or where it passes a request to. Those that answer by themselves are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.errors import BadRequest
from npserver.explain.explanation import Step, show_field
from npserver.nameserver.https import DnsOverHttps
from npserver.upstream.health_state import Health
from npserver.web.challenges import ChallengeHandler
from npserver.web.handlers.redirect.handler import MovedHandler, RedirectHandler
from npserver.web.handlers.respond.handler import RespondHandler
from npserver.web.handlers.static.handler import StaticHandler
from npserver.web.handlers.static.located import LocatedFiles
from npserver.web.handlers.status.handler import StatusHandler
from npserver.web.matching.router import DeferredHandler, PathTooLong
from npserver.web.server.front import ServerOptions, Unrouted
from npserver.web.slash_redirect import SlashRedirect

if TYPE_CHECKING:
    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.exchange import AskedExchange
    from npserver.explain.explanation import Explanation
    from npserver.http.request import Request
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target
    from npserver.web.exchange import Handler
    from npserver.web.handlers.fastcgi.handler import FastcgiHandler
    from npserver.web.handlers.proxy.proxy import Proxy

#: Those that answer at once, and ask nobody.
_ANSWERING = (
    ChallengeHandler,
    DeferredHandler,
    MovedHandler,
    PathTooLong,
    RedirectHandler,
    RespondHandler,
    ServerOptions,
    StatusHandler,
    Unrouted,
)
#: Balancers whose choice depends on the request alone.
_FIXED = frozenset({"ip-hash", "hash"})
MAX_TARGETS = 16  # shown


def ask_handler(
    config: CompiledConfig, handler: Handler, exchange: AskedExchange, found: Explanation, steps: list[Step]
) -> None:
    """Ask a handler about an exchange, and add what it decides."""
    told: Any = exchange
    if isinstance(handler, _ANSWERING):
        handler.handle(told)
    elif isinstance(handler, SlashRedirect):
        slash = SlashRedirect(_Inner(lambda: ask_handler(config, handler.handler, exchange, found, steps)))
        slash.handle(told)
    elif isinstance(handler, StaticHandler):
        _ask_files(handler, exchange, found, steps)
    elif isinstance(handler, DnsOverHttps):
        steps.append(Step("name server", "DNS over HTTPS: ask dns:NAME for what it answers"))
    else:
        _ask_upstream(config, handler, exchange, found, steps)


class _Inner:
    def __init__(self, ask: Any) -> None:
        self._ask = ask

    def handle(self, exchange: object) -> None:
        """Ask the handler of the rule."""
        self._ask()


def _ask_files(handler: StaticHandler, exchange: AskedExchange, found: Explanation, steps: list[Step]) -> None:
    files = LocatedFiles(handler)
    told: Any = exchange
    files.handle(told)
    if files.file:
        found.file = files.file
        steps.append(Step("file", files.file))
        if not exchange.status:  # it is compressed first
            exchange.respond(200)
    elif exchange.status in (403, 404):
        steps.append(Step("file", f"{files.asked}: {exchange.reason}"))


def _ask_upstream(
    config: CompiledConfig, handler: Handler, exchange: AskedExchange, found: Explanation, steps: list[Step]
) -> None:
    from npserver.web.handlers.fastcgi.handler import FastcgiHandler
    from npserver.web.handlers.proxy.cache.handler import CacheHandler
    from npserver.web.handlers.proxy.files_first import FilesFirst
    from npserver.web.handlers.proxy.handler import ProxyHandler
    from npserver.web.handlers.proxy.split import SplitHandler

    told: Any = exchange
    if isinstance(handler, FilesFirst):
        if (chosen := handler.choose(told)) is handler.files:
            _ask_files(handler.files, exchange, found, steps)
            return
        steps.append(Step("file", f"none below {handler.files.settings.files.rule.root}"))
        handler = chosen
    if isinstance(handler, SplitHandler):
        handler = handler.choose(told)
        steps.append(Step("split", f"the client belongs to {handler.proxy.upstream.name}"))
    if isinstance(handler, CacheHandler):
        steps.append(Step("cache", "answers from its store, if it has the response; else:"))
        handler = handler.inner
    if isinstance(handler, FastcgiHandler):
        _ask_scripts(config, handler, exchange, found, steps)
    elif isinstance(handler, ProxyHandler):
        _show_proxy(handler.proxy, exchange, found, steps)
    else:
        steps.append(Step("handler", f"{type(handler).__name__}: what it answers is known only when it runs"))


def _ask_scripts(
    config: CompiledConfig, handler: FastcgiHandler, exchange: AskedExchange, found: Explanation, steps: list[Step]
) -> None:
    from npserver.web.handlers.fastcgi.scripts import Script

    script = handler.scripts.find(exchange.request.path)
    if not isinstance(script, Script):
        told: Any = exchange
        handler.answer(told, script, _Inner(lambda: _ask_files(handler.files, exchange, found, steps)))
        return
    file = handler.scripts.directory + script.file.decode("utf-8", "surrogateescape")
    steps.append(Step("script", file))
    if _show_targets(handler.gateway, exchange, found, steps) is not None:
        found.file = file


def _show_proxy(proxy: Proxy, exchange: AskedExchange, found: Explanation, steps: list[Step]) -> None:
    told: Any = exchange
    target = _show_targets(proxy, exchange, found, steps)
    if target is None:
        return
    try:
        head = proxy.compose(told, target)
    except BadRequest as error:
        exchange.fail(error.status, str(error), error.decided_by)
        return
    line, *fields = head.split(b"\r\n")[:-2]
    steps.append(Step("sends", line.decode("latin-1")))
    path = line.split(b" ")[1].decode("latin-1")
    if found.to and target.uri in found.to:
        found.to.append(f"{target.uri}{path}")
    added, removed = _changes(exchange.request, fields)
    if added:
        steps.append(Step("adds", "; ".join(added)))
    if removed:
        steps.append(Step("removes", ", ".join(removed)))


def _show_targets(proxy: Proxy, exchange: AskedExchange, found: Explanation, steps: list[Step]) -> Target | None:
    """Add where a request is passed to, and return the target that would have it at the start."""
    told: Any = exchange
    upstream = proxy.upstream
    target = proxy.choose(told, ())
    is_sure = upstream.section.balance in _FIXED or proxy.sticky is not None
    found.to, found.shown_to = names_of(upstream, target if is_sure else None)
    written = getattr(proxy.settings.rule, "proxy_pass", "")
    if written and not written.startswith("upstream://"):
        found.to.append(written)
    steps.append(Step("to", show_targets(upstream)))
    if target is None and upstream.queue is not None:
        steps.append(Step("wait", show_wait(upstream)))
    elif target is None:
        exchange.fail(503, "no target is available", proxy.settings.pass_key)
    elif is_sure and len(upstream.targets) > 1:
        steps.append(Step("target", f"{target.uri}, by {upstream.section.balance}, if it is up"))
    return target


def names_of(upstream: Upstream, sure: Target | None = None) -> tuple[list[str], str]:
    """Return the URIs by which an upstream may be called, and the words for it. `sure`: the target that has it all."""
    if "://" in upstream.name:  # the target of a rule
        return [upstream.targets[0].uri, upstream.name], upstream.name
    name = f"upstream://{upstream.name}"
    used = [one for one in upstream.targets if not one.is_draining] or upstream.targets
    if sure is None and len(used) == 1:
        sure = used[0]
    found = [name] if sure is None else [name, sure.uri]
    targets = ", ".join([one.uri for one in used[:MAX_TARGETS]])
    return found, f"{name} ({targets})"


def show_targets(upstream: Upstream) -> str:
    """Return an upstream and its targets, in words."""
    name, section = upstream.name, upstream.section
    if "://" in name:
        states = ", ".join(_states(upstream.targets[0]))
        return f"{name} ({states})" if states else name
    shown = []
    for one in upstream.targets[:MAX_TARGETS]:
        notes = _states(one)
        notes += ["backup"] * one.section.backup + [f"weight {one.section.weight}"] * (one.section.weight != 1)
        noted = ", ".join(notes)
        shown.append(f"{one.uri} ({noted})" if noted else one.uri)
    more = f" and {len(upstream.targets) - MAX_TARGETS} more" if len(upstream.targets) > MAX_TARGETS else ""
    how = f", by {section.balance}" if len(upstream.targets) > 1 else ""
    return f"upstream://{name}: {', '.join(shown)}{more}{how}"


def show_wait(upstream: Upstream) -> str:
    """Return how long a request or connection waits for a target, in words."""
    return f"no target can be used now: it waits for one, up to {upstream.section.wait:g} s"


def _states(target: Target) -> list[str]:
    """Return what keeps a target from being used; nothing at the start of a server."""
    if target.is_draining:
        return ["drained: npserver undrain"]
    if target.health is Health.DOWN:
        return ["unhealthy or ejected"]
    return ["at max_connections"] if target.is_full() else []


def _changes(request: Request, sent: list[bytes]) -> tuple[list[str], list[str]]:
    """Return the field lines that only the forwarded head has, and the names of those that only the request has."""
    before = [line for line, _ in _lines(request.raw_fields)]
    after = set(sent)
    added = [show_field(line) for line in sent if line not in before]
    kept = {line.partition(b":")[0].lower() for line in sent}
    removed = [name.decode("latin-1") for line, name in _lines(request.raw_fields) if line not in after]
    return added, [name for name in dict.fromkeys(removed) if name.lower().encode("latin-1") not in kept]


def _lines(fields: Any) -> list[tuple[bytes, bytes]]:
    return [(b"%b: %b" % (name, value), name) for name, value in fields]
