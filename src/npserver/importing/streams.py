"""nginx's `stream` block as `forward` rules. Called by `importing.nginx`."""

from __future__ import annotations

from typing import Any

from npserver.importing.access import networks_of
from npserver.importing.directives import Directive
from npserver.importing.draft import Draft, DraftRule
from npserver.importing.listeners import ListenOn, add_certificate, listens_of
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, constant, seconds
from npserver.importing.upstreams import Upstreams


def add_streams(stream: Directive, main: Scope, draft: Draft) -> None:
    """Add the listeners, upstreams and rules of a `stream` block."""
    stream.used = True
    block = stream.block or []
    scope = main.inner(block)
    upstreams = Upstreams(draft, {one.args[0]: one for one in stream.inside("upstream")})
    maps = {one.args[1]: one for one in stream.inside("map") if one.args[0] == "$ssl_preread_server_name"}
    for server in stream.inside("server"):
        server.used = True
        inner = scope.inner(server.block or [])
        start = len(draft.rules)
        listens = listens_of(inner, draft, default_port=0)
        uris = [_listener(one, draft) for one in listens]
        add_certificate(draft, inner, [], {uri: True for uri in uris if uri.startswith("ssl:")})
        for one in inner.own("proxy_pass"):
            try:
                _add(one, uris, inner, upstreams, maps, draft)
            except NoCounterpart as error:
                draft.comments.append(draft.lose(one, str(error)))
        if len(draft.rules) == start:  # nothing is to be done there
            named = {uri for rule in draft.rules for uri in _listed(rule.keys.get("listener"))}
            for uri in set(uris) - named:
                del draft.listeners[uri]
                draft.certificates.pop(uri, None)
        draft.comment_on(start, draft.left_over(server.block or []))
    draft.comments += draft.left_over([one for one in block if one.name != "upstream"])


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _listener(one: ListenOn, draft: Draft) -> str:
    scheme = "udp" if "udp" in one.flags else "ssl" if "ssl" in one.flags else "tcp"
    uri = one.uri(scheme)
    draft.listeners.setdefault(uri, {"uri": uri})
    return uri


def _add(
    one: Directive, uris: list[str], scope: Scope, upstreams: Upstreams, maps: dict[str, Directive], draft: Draft
) -> None:
    keys: dict[str, Any] = {"listener": uris[0] if len(uris) == 1 else uris, "handler": "forward"}
    more: dict[str, Any] = {}
    if timeout := scope.word("proxy_timeout"):
        more["timeout"] = seconds(timeout)
    if timeout := scope.word("proxy_connect_timeout"):
        more["connect_timeout"] = seconds(timeout)
    if scope.word("proxy_protocol") == "on":
        more["send_proxy"] = "v1"
    more |= networks_of(scope, [])
    scheme = "udp" if uris and uris[0].startswith("udp:") else "tcp"
    if scope.word("proxy_ssl") == "on":
        scheme, more["tls"] = "ssl", {"insecure": True}
    preread = scope.word("ssl_preread") == "on"
    if one.args[0] in maps and preread:
        choices = maps[one.args[0]]
        choices.used = True
        for choice in choices.block or []:
            if not choice.args:  # such as `hostnames`
                continue
            name, target = choice.name, choice.args[0]
            if name.startswith("~"):
                draft.comments.append(draft.lose(choice, "names are texts, or begin with '*.'"))
                continue
            to = {"forward_to": upstreams.uri(scheme, target)}
            names = [name[1:], f"*{name}"] if name.startswith(".") else name
            draft.rules.append(DraftRule({**keys, **({} if name == "default" else {"sni": names}), **to, **more}))
        return
    target = upstreams.uri(scheme, constant(one.args[0], scope))
    draft.rules.append(DraftRule({**keys, "forward_to": target, **more}))
