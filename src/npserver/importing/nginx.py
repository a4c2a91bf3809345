"""A whole nginx config as ours. Called by `npserver import`."""

from __future__ import annotations

from copy import deepcopy

from msgspec import Struct

from npserver.importing.directives import read_directives
from npserver.importing.draft import Draft
from npserver.importing.listeners import add_certificate, add_listeners, listens_of
from npserver.importing.logs import add_logs
from npserver.importing.scope import Scope
from npserver.importing.server import Server, add_rules, names_of
from npserver.importing.streams import add_streams
from npserver.importing.texts import NoCounterpart, seconds, size
from npserver.importing.upstreams import Upstreams
from npserver.importing.written import write

MAX_TYPES = 60  # a block with more is that of nginx's package


class Imported(Struct):
    """The text of the config, and what changes who gets what: it is to be looked at."""

    text: str
    losses: list[str]


def import_nginx(file: str) -> Imported:
    """Read an nginx config, or a part of one such as a file of `sites-available`, and return ours.

    Raises: MissingPackage; ConfigError with file and line for what cannot be read.
    """
    main = read_directives(file)
    draft = Draft()
    http = [one for one in main if one.name == "http"]
    block = [inner for one in http for inner in one.block or []]
    if not http:
        block = [one for one in main if one.name in ("server", "upstream", "map")]
    for one in http:
        one.used = True
    settings = Scope([main, block])
    _add_settings(settings, draft)
    _add_http(Scope([block]), draft)
    for one in main:
        if one.name == "stream":
            add_streams(one, Scope([[]]), draft)
    draft.comments += draft.left_over(block)
    draft.comments += draft.left_over(main)
    return Imported(write(draft, file), draft.losses)


def _add_http(scope: Scope, draft: Draft) -> None:
    block = scope.blocks[-1]
    upstreams = Upstreams(draft, {one.args[0]: one for one in block if one.name == "upstream" and one.args})
    for one in block:
        if one.name == "map" and len(one.args) == 2:
            draft.maps[one.args[1]] = one
            one.used = one.args[0] == "$http_upgrade"  # WebSockets need nothing
        if one.name == "server":
            one.used = True
    servers = [one for one in block if one.name == "server"]
    scopes = [scope.inner(one.block or []) for one in servers]
    listens = [listens_of(inner, draft) for inner in scopes]
    uris = add_listeners(draft, listens, _trusted(scope, scopes, draft))
    for one, inner, where in zip(servers, scopes, uris, strict=True):
        names = names_of(inner, draft)
        secure = {uri: default for uri, default in where.items() if uri.startswith("https:")}
        if secure:
            add_certificate(draft, inner, names, secure)
        for name in ("ssl_certificate", "ssl_certificate_key", "ssl_protocols"):
            inner.find(name)
        if not names and not any(where.values()):
            draft.comments.append(draft.lose(one, "no name by which clients reach it"))
            continue
        for is_default in sorted(set(where.values()) if names else {True}, reverse=True):
            part = deepcopy(one)  # its directives are marked as used
            at = [uri for uri, default in where.items() if default == is_default]
            listeners = None if len(at) == len(draft.listeners) and len(at) == 1 else at
            server = Server(part, scope.inner(part.block or []), listeners, None if is_default else names)
            add_rules(server, draft, upstreams)


def _add_settings(scope: Scope, draft: Draft) -> None:
    """Add what is for all servers."""
    if user := scope.words("user"):
        draft.top["user"] = user[0]
    workers = scope.word("worker_processes", "auto")
    if workers.isdigit() and 0 < int(workers[:6]) <= 1024:
        draft.top["workers"] = int(workers)
    try:
        draft.top["limits"] = {"max_body_size": size(scope.word("client_max_body_size", "1m"))}
    except NoCounterpart as error:
        draft.comments.append(str(error))
    if scope.word("gzip", "off") == "on":
        types = [name for name in scope.words("gzip_types") if "/" in name]
        draft.top["gzip"] = {"proxied": True, **({"types": types} if types else {})}
    else:
        draft.top["gzip"] = False
    _add_timeouts(scope, draft)
    mime = {
        ending: kind.name
        for one in scope.find("types")
        for kind in (one.block or [] if len(one.block or []) <= MAX_TYPES else [])
        for ending in kind.args
        if "/" in kind.name
    }
    if mime:
        draft.top["mime"] = mime
    add_logs(scope, draft)


def _trusted(scope: Scope, servers: list[Scope], draft: Draft) -> list[str]:
    """Return the networks of proxies in front, which the config has for all servers."""
    found: list[str] = []
    for one in [scope, *servers]:
        found += [network.args[0] for network in one.find("set_real_ip_from")]
        header = one.find("real_ip_header")
        if header and header[-1].args[:1] not in (["X-Forwarded-For"], ["Forwarded"], ["proxy_protocol"]):
            draft.comments.append(draft.lose(header[-1], "the client is told by Forwarded or X-Forwarded-For"))
        one.find("real_ip_recursive")
    if found:
        draft.top["trusted_proxies"] = found = list(dict.fromkeys(found))
    return found


def _add_timeouts(scope: Scope, draft: Draft) -> None:
    names = {"client_header_timeout": "header", "client_body_timeout": "body", "keepalive_timeout": "idle"}
    found = {}
    for theirs, ours in {**names, "send_timeout": "write"}.items():
        for one in scope.find(theirs)[-1:]:
            try:
                if limit := seconds(one.args[0]):  # with 0, nginx closes at once
                    found[ours] = limit
            except NoCounterpart as error:
                draft.comments.append(f"{one.place}: {error}")
    if found:
        draft.top["timeouts"] = found
