"""Which rule has a forwarded connection or the datagrams of a client, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.explain.explanation import CLOSED
from npserver.explain.handlers import names_of, show_targets, show_wait
from npserver.explain.web import show_certificate
from npserver.forward.datagrams import DatagramForward
from npserver.forward.stream_router import StreamRouter
from npserver.networks import UNIX_PEER

if TYPE_CHECKING:
    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.explanation import Explanation
    from npserver.explain.question import Question
    from npserver.forward.session import Forward
    from npserver.listen.listener import Listener

_NO_RULE = "no rule is for this client and server name ('from', 'sni')"


def explain_connection(config: CompiledConfig, question: Question, listener: Listener, found: Explanation) -> None:
    """Explain a connection, or the first datagram of a client."""
    if listener.server_tls is not None:
        show_certificate(config, listener.server_tls, question.server_name, found)
    ip = "" if found.client == UNIX_PEER else found.client
    forward = _forward(config, question, listener, ip, found)
    if forward is None:
        found.gets = CLOSED
        found.add("rule", _NO_RULE)
        return
    settings = forward.settings
    index = int(settings.name.partition("[")[2].rstrip("]"))
    found.rule = settings.name
    found.add("rule", f"{settings.name}  forward to {settings.rule.forward_to}", config.place(("dispatch", index)))
    if key := forward.refused_by(ip):
        found.gets = CLOSED
        found.add("networks", "refuses the client", config.place_of_key(key))
        return
    if settings.allow is not None or settings.deny is not None:
        found.add("networks", "passes")
    if forward.limiter is not None:
        found.add(
            "rate_limit", "passes, as long as the client is within it", config.place(("dispatch", index, "rate_limit"))
        )
    upstream = forward.upstream
    is_sure = upstream.section.balance == "ip-hash"
    target = upstream.pick(ip, 0)
    found.to, found.shown_to = names_of(upstream, target if is_sure else None)
    found.add("to", show_targets(upstream))
    if target is None and upstream.queue is not None:
        found.add("wait", show_wait(upstream))
    elif target is None:
        found.gets = CLOSED
        found.add("refused", "no target is available", config.place_of_key(f"{settings.name}.forward_to"))
        return
    if settings.rule.send_proxy:
        found.add("sends", f"a PROXY header, version {settings.rule.send_proxy[1:]}, with the client's address")


def _forward(
    config: CompiledConfig, question: Question, listener: Listener, ip: str, found: Explanation
) -> Forward | None:
    front: Any = config.runtime.fronts[listener.key]
    if isinstance(front, DatagramForward):
        return front.choose(ip)
    if not isinstance(front, StreamRouter):
        forward: Forward = front.forward
        return forward
    candidates = front.candidates(ip)
    name = question.server_name
    route = front.choose(candidates, name)
    for other in candidates:
        if other is not route and other.names:
            found.add("passed over", f"{other.front.forward.settings.name}: for {', '.join(other.names)}")
    if any(one.names for one in front.routes):
        found.add("server name", clip(name) if name else "none")
    return None if route is None else route.front.forward
