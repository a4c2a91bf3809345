"""What answers in a block of nginx, as a handler of ours. Called by `importing.server`."""

from __future__ import annotations

import os
import re
from typing import Any

from npserver.importing.access import body_limit, common_keys, denies_all, response_headers
from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.place import Place
from npserver.importing.proxied import fastcgi_keys, grpc_keys, proxy_keys
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, body, text
from npserver.importing.upstreams import Upstreams

#: Directives that keep clients out: without them a location must not be open.
_UNKNOWN_GUARDS = (
    "auth_request",
    "auth_jwt",
    "limit_except",
    "secure_link",
    "access_by_lua_block",
    "access_by_lua_file",
)
_STATUS_OF_REDIRECTS = (301, 302, 303, 307, 308)


def handler_keys(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return handler and keys for a place. Raises: NoCounterpart."""
    scope = place.scope
    if returns := scope.own("return"):
        try:
            return {**return_keys(returns[0], scope), **response_headers(scope, draft, comments)}
        except NoCounterpart as error:
            raise NoCounterpart(f"{returns[0].place}: {returns[0].text[:100]}: {error}") from error
    for one in scope.find(*_UNKNOWN_GUARDS):
        if one.args[:1] != ["off"]:
            raise NoCounterpart(f"{one.place}: {one.text[:100]}: who may come in is not known without it")
    if scope.own("stub_status"):
        return {"handler": "status", "errors": False, **common_keys(scope, draft, comments)}
    if scope.own("internal"):
        return {"handler": "respond", "status": 404}
    if denies_all(scope):
        return {"handler": "respond", "status": 403, **response_headers(scope, draft, comments)}
    common = {**common_keys(scope, draft, comments), **_gzip(scope)}
    for name, translate in (("proxy_pass", proxy_keys), ("grpc_pass", grpc_keys)):
        if passes := scope.own(name):
            keys = translate(passes[0], place, draft, upstreams, comments)
            return {**keys, **common, **body_limit(scope)}
    if passes := scope.own("fastcgi_pass"):
        keys = fastcgi_keys(passes[0], scope, draft, upstreams, comments)
        return {**keys, "root": root_of(place), "fallback": None, **common, **body_limit(scope)}
    for name in ("uwsgi_pass", "scgi_pass", "memcached_pass"):
        if passes := scope.own(name):
            raise NoCounterpart(f"{passes[0].place}: {name}: there is no such handler")
    return {**_files(place, draft, upstreams, comments), **common}


def _gzip(scope: Scope) -> dict[str, Any]:
    """Return the key for `gzip` where it is not as for all servers."""
    of_all = [one.args[0] for one in scope.blocks[0] if one.name == "gzip"] or ["off"]
    here = scope.word("gzip", "off")
    return {} if here == of_all[-1] else {"gzip": here == "on"}


def return_keys(one: Directive, scope: Scope) -> dict[str, Any]:
    """Return the handler for a `return`. Raises: NoCounterpart."""
    words = one.args
    if len(words) == 1 and not words[0].isdigit():
        return {"handler": "redirect", "to": _url(words[0], scope), "status": 302}
    if not words[0].isdigit() or len(words[0]) > 3:
        raise NoCounterpart("not a status")
    status = int(words[0])
    if status in _STATUS_OF_REDIRECTS and len(words) == 2:
        return {"handler": "redirect", "to": _url(words[1], scope), "status": status}
    if status == 444:
        status = 403  # nginx closes the connection
    if not 200 <= status < 600:
        raise NoCounterpart("not a status of an answer")
    found: dict[str, Any] = {"handler": "respond", "status": status}
    if len(words) == 2:
        found["body"] = body(words[1], scope.constants())
        found["content_type"] = scope.word("default_type", "text/plain")
    return found


def _url(url: str, scope: Scope) -> str:
    names = [name for one in scope.find("server_name") for name in one.args]
    return text(url, {**scope.constants(), "server_name": names[0] if names else "localhost"})


def root_of(place: Place) -> str:
    """Return the directory of a place, from which its prefix has been removed. Raises: NoCounterpart."""
    alias = [one for one in place.scope.blocks[-1] if one.name == "alias"]
    if alias:
        alias[0].used = True
        if place.is_regex or "$" in alias[0].args[0]:
            raise NoCounterpart(f"{alias[0].place}: alias with variables")
        return alias[0].args[0]
    root = place.scope.word("root", "html")
    if "$" in root:
        raise NoCounterpart(f"variables in root {root[:60]}")
    return os.path.join(root, place.prefix.lstrip("/")) if place.prefix else root


def _files(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    scope = place.scope
    index = [name for one in scope.find("index") for name in one.args if not name.startswith("/")] or ["index.html"]
    tried = scope.own("try_files")
    if tried and (named := place.named.get(tried[0].args[-1])) is not None:
        comments.append(f"{tried[0].place}: {tried[0].text[:80]}: files are not tried first: all requests go there")
        inner = Place(named, place.prefix, place.location, place.is_exact, place.is_regex)
        return handler_keys(inner, draft, upstreams, comments)
    root = root_of(place)
    fallback: str | None = None
    paths: list[str] = []
    if tried:
        *paths, last = tried[0].args
        bare = re.sub(r"\?.*|\$(is_args|request_uri|uri).*", "", last) if last.startswith("/") else last
        if last.startswith("="):
            paths.append(last)
        elif "$" in bare or bare.startswith("@") or not bare.startswith(f"{place.prefix}/"):
            raise NoCounterpart(f"{tried[0].place}: {tried[0].text[:100]}: no fallback outside the files of the rule")
        else:
            fallback = bare[len(place.prefix) + 1 :]
    if place.is_exact:
        root, paths, fallback = _exact(place, root, fallback)
    if place.php is not None and ((fallback or "").endswith(".php") or (not fallback and "index.php" in index)):
        passes = place.php.find("fastcgi_pass")[0]
        keys = fastcgi_keys(passes, place.php, draft, upstreams, comments)
        return {**keys, "root": root, "index": index, "fallback": fallback, **body_limit(scope)}
    keys = {"handler": "static", "root": root, "index": index[0] if len(index) == 1 else index}
    if fallback is not None:
        keys["fallback"] = fallback
    elif paths and paths != ["$uri", "$uri/", "=404"] and paths != ["$uri", "=404"]:
        keys["try_files"] = [re.sub(r"\$uri\b|\$\{uri\}", "$path", path) for path in paths]
        if any("$" in path.replace("$path", "") for path in keys["try_files"]):
            raise NoCounterpart(f"{tried[0].place}: {tried[0].text[:100]}: variables")
    if scope.word("autoindex") == "on":
        keys["browse"] = True
    return keys


def _exact(place: Place, root: str, fallback: str | None) -> tuple[str, list[str], str | None]:
    """Return root, paths to try and fallback for one path; an alias is a file."""
    if any(one.name == "alias" for one in place.scope.blocks[-1]):
        return os.path.dirname(root), [f"/{os.path.basename(root)}", "=404"], None
    return root, [], fallback
