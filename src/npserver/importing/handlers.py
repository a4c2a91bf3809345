"""What answers in a block of nginx, as a handler of ours. Called by `importing.server`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from npserver.importing.access import body_limit, common_keys, denies_all, log_key, response_headers
from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.files import files_keys, root_of
from npserver.importing.place import Place
from npserver.importing.proxied import fastcgi_keys, grpc_keys, proxy_keys
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, body, text
from npserver.importing.upstreams import Upstreams

#: Directives that keep clients out: without them a location must not be open.
_UNKNOWN_GUARDS = ("auth_jwt", "secure_link", "access_by_lua_block", "access_by_lua_file", "auth_oidc")
MAX_REDIRECTS = 10  # as in nginx
_STATUS_OF_REDIRECTS = (301, 302, 303, 307, 308)


def handler_keys(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return handler and keys for a place. Raises: NoCounterpart."""
    scope = place.scope
    if returns := scope.own("return"):
        if (named := _named_by_status(returns[0], place)) is not None:
            return handler_keys(_redirected(place, named), draft, upstreams, comments)
        try:
            keys = {**return_keys(returns[0], scope), **response_headers(scope, draft, comments), **log_key(scope)}
        except NoCounterpart as error:
            raise NoCounterpart(f"{returns[0].place}: {returns[0].text[:100]}: {error}") from error
        body_limit(scope)
        return keys
    for one in scope.find(*_UNKNOWN_GUARDS):
        if one.args[:1] != ["off"]:
            raise NoCounterpart(f"{one.place}: {one.text[:100]}: who may come in is not known without it")
    if scope.own("stub_status"):
        return {"handler": "status", "errors": False, **common_keys(place, draft, upstreams, comments)}
    if internal := scope.own("internal"):
        if not scope.own("proxy_pass", "error_page"):
            comments.append(f"{internal[0].place}: internal: X-Accel-Redirect of applications has no counterpart")
        return {"handler": "respond", "status": 404}
    if denies_all(scope):
        return {"handler": "respond", "status": 403, **response_headers(scope, draft, comments), **log_key(scope)}
    if (tried := _named_by_files(place)) is not None:
        paths, named = tried
        merged = named.instead(_around(scope, named) + named.blocks[-1])
        keys = handler_keys(_redirected(place, merged), draft, upstreams, comments)
        return {**keys, **_files_before(paths, keys, place, draft, comments)}
    common = {**common_keys(place, draft, upstreams, comments), **_gzip(scope), **body_limit(scope)}
    for name, translate in (("proxy_pass", proxy_keys), ("grpc_pass", grpc_keys)):
        if passes := scope.own(name):
            return {**translate(passes[0], place, draft, upstreams, comments), **common}
    if passes := scope.own("fastcgi_pass"):
        keys = fastcgi_keys(passes[0], scope, draft, upstreams, comments)
        return {**keys, "root": root_of(place), "fallback": None, **_of_files(common)}
    for name in ("uwsgi_pass", "scgi_pass", "memcached_pass"):
        if passes := scope.own(name):
            raise NoCounterpart(f"{passes[0].place}: {name}: there is no such handler")
    return {**files_keys(place, draft, upstreams, comments), **_of_files(common)}


def _redirected(place: Place, scope: Scope) -> Place:
    if place.redirects == MAX_REDIRECTS:
        raise NoCounterpart("named locations lead to each other")
    return replace(place, scope=scope, redirects=place.redirects + 1)


def _of_files(keys: dict[str, Any]) -> dict[str, Any]:
    """Return keys in which Cache-Control is that of files: not that of errors, as nginx has it without `always`."""
    fields = dict(keys.get("response_headers", {}))
    name = next((field for field in fields if field.lower() == "cache-control"), "")
    if not name or fields[name] is None or "$" in str(fields[name]):
        return keys
    value = fields.pop(name)
    found = {key: other for key, other in keys.items() if key != "response_headers"}
    found["cache_control"] = value if isinstance(value, str) else ", ".join(value)
    return {**found, **({"response_headers": fields} if fields else {})}


def _named_by_status(one: Directive, place: Place) -> Scope | None:
    """Return the block of `error_page 418 = @name; return 418;`."""
    for page in place.scope.find("error_page") if one.args[0].isdigit() and len(one.args) == 1 else []:
        if one.args[0] in page.args[:-1] and page.args[-1] in place.site.named:
            return place.site.named[page.args[-1]].scope
    return None


def _named_by_files(place: Place) -> tuple[Directive, Scope] | None:
    """Return `try_files`, and the block of the named location that it ends with; the same for `if (!-f ...)`."""
    tried = place.scope.own("try_files")
    if tried and (named := place.site.named.get(tried[0].args[-1])) is not None:
        return tried[0], named.scope
    for one in place.scope.here("if"):
        missing = one.args in (["!-f", "$request_filename"], ["!-e", "$request_filename"])
        if missing and any(one.inside("proxy_pass")):
            one.used = True
            outer = [other for other in place.scope.blocks[-1] if other is not one]
            return Directive(one.file, one.line, "try_files", ["$uri", "@"]), place.scope.instead(
                outer + [inner for inner in one.block or [] if inner.name != "break"]
            )
    return None


def _files_before(
    tried: Directive, keys: dict[str, Any], place: Place, draft: Draft, comments: list[str]
) -> dict[str, Any]:
    """Return the keys for the files that are sent before a request is passed on."""
    paths = set(tried.args[:-1]) - {"/dev/null", "/nonexistent", "/nothing"}
    if not paths:
        return {}
    if "$uri" not in paths or keys["handler"] != "proxy" or (place.regex and place.scope.here("alias")):
        comments.append(draft.lose(tried, "files are not tried first: all requests go there"))
        return {}
    if paths - {"$uri", "$uri/"}:
        comments.append(draft.lose(tried, "of these, only $uri is tried"))
    fields = _of_files(response_headers(place.scope, draft, comments)).get("cache_control")
    return {"root": root_of(place), **({"cache_control": fields} if fields else {})}


def _around(scope: Scope, named: Scope) -> list[Directive]:
    """Return what a location says before it goes on to a named one, which keeps it out there as well."""
    names = {"auth_request", "auth_basic", "auth_basic_user_file", "allow", "deny", "limit_req", "auth_request_set"}
    if named.here("proxy_pass"):
        names.add("rewrite")
    return [one for block in scope.blocks[len(named.blocks) - 1 :] for one in block if one.name in names]


def _gzip(scope: Scope) -> dict[str, Any]:
    """Return the key for `gzip` where it is not as for all servers."""
    of_all = [one.args[0] for one in scope.names[0].get("gzip", ())] or ["off"]
    here = scope.word("gzip", "off")
    types = [name for name in scope.words("gzip_types") if "/" in name]
    if here != "on" or not any("gzip_types" in known for known in scope.names[1:]):
        return {} if here == of_all[-1] else {"gzip": here == "on"}
    return {"gzip": {"types": types}} if types else {"gzip": True}


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
    return text(url, {**scope.constants(), "server_name": names[0].lower() if names else "localhost"})
