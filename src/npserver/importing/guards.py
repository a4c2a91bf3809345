"""`auth_request` as `forward_auth`. Called by `importing.access`."""

from __future__ import annotations

import re
from typing import Any

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.place import Place
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, constant, seconds, text
from npserver.importing.upstreams import Upstreams

_TARGET = re.compile(r"(https?)://(unix:[^:]+(?=:|$)|[^/?#]+):?(/[^#]*)?")
_URL = re.compile(r"\$scheme://\$(?:http_host|host)(?::\$server_port)?\$request_uri")
#: Fields that npserver sends an authorization server by itself.
_SENT = {
    "content-length", "x-original-url", "x-original-method", "x-forwarded-method", "x-forwarded-proto",
    "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for", "x-real-ip", "connection", "host", "x-scheme",
    "x-auth-request-redirect",
}  # fmt: skip


def forward_auth(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return the key for `auth_request`. Raises: NoCounterpart, as nobody may come in without it."""
    found = place.scope.find("auth_request")
    if not found or found[-1].args[:1] == ["off"]:
        return {}
    one = found[-1]
    asked = place.site.find(one.args[0])
    scope = asked.scope if asked else None
    if asked is not None and (tried := asked.scope.here("try_files")):
        named = place.site.named.get(tried[0].args[-1])
        scope = named.scope if named else scope
    passes = scope.here("proxy_pass") if scope else []
    if scope is None or not passes or "$" in one.args[0]:
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: who may come in is not known without it")
    try:
        keys = _asked(scope, passes[0], one.args[0], upstreams)
        copy = _copied(place.scope)
    except NoCounterpart as error:
        raise NoCounterpart(f"{passes[0].place}: {passes[0].text[:100]}: {error}") from error
    if copy:
        keys["copy"] = copy
    comments += [
        draft.lose(field, "'forward_auth' sends fields of its own")
        for field in scope.find("proxy_set_header")
        if field.args[0].lower() not in _SENT
    ]
    if (to := _sign_in(place, draft, comments)) is not None:
        keys["sign_in"] = to
    return {"forward_auth": keys}


def _asked(scope: Scope, one: Directive, path: str, upstreams: Upstreams) -> dict[str, Any]:
    match = _TARGET.fullmatch(constant(one.args[0], scope))
    if match is None:
        raise NoCounterpart("no target that npserver knows")
    keys: dict[str, Any] = {"to": upstreams.uri(match[1], match[2]), "path": match[3] or path}
    hosts = [field.args[1] for field in scope.find("proxy_set_header") if field.args[0].lower() == "host"]
    if not hosts or hosts[-1] not in ("$host", "$http_host"):
        keys["preserve_host"] = False
    if limit := scope.word("proxy_read_timeout"):
        keys["timeout"] = seconds(limit)
    if match[1] == "https" and scope.word("proxy_ssl_verify") != "on":
        keys["tls"] = {"insecure": True}
    return keys


def _copied(scope: Scope) -> dict[str, str]:
    """Return what `auth_request_set` takes of the answer and `proxy_set_header` sends to the application."""
    taken = {}
    for one in scope.find("auth_request_set"):
        if len(one.args) == 2 and (match := re.fullmatch(r"\$upstream_http_(\w+)", one.args[1])):
            taken[one.args[0]] = match[1].replace("_", "-")
    return {
        one.args[0]: taken[one.args[1]]
        for name in ("proxy_set_header", "fastcgi_param")
        for one in scope.find(name)
        if len(one.args) > 1 and one.args[1] in taken
    }


def _sign_in(place: Place, draft: Draft, comments: list[str]) -> str | None:
    """Return where browsers that are refused are sent to, by `error_page 401`."""
    constants = {one.args[0]: one.args[1] for one in place.scope.find("auth_request_set") if len(one.args) == 2}
    for one in place.scope.find("error_page"):
        if one.args[0] != "401" or (one.used and one.block is not None):
            continue
        page = one.args[-1]
        if page.startswith("@") and page in place.site.named:
            inner = place.site.named[page].scope
            returns = inner.own("return")
            if not returns or returns[0].args[0] not in ("302", "303", "307"):
                comments.append(draft.lose(one, "only a redirect of 401 is known"))
                continue
            page = returns[0].args[-1]
        try:
            to = _url(page, constants, place)
            if not one.args[-1].startswith("@"):
                comments.append(f"{one.place}: {one.text[:80]}: browsers are redirected there, others get the 401")
            return to
        except NoCounterpart as error:
            comments.append(draft.lose(one, str(error)))
    return None


def _url(page: str, constants: dict[str, str], place: Place) -> str:
    for name, value in constants.items():
        if "$upstream_" not in value:
            page = page.replace(name, value)
    marked = _URL.sub("\0", page)
    if "\0" not in marked and marked.startswith("/oauth2/") and "?" not in marked:
        marked += "?rd=\0"
    return text(marked, place.scope.constants()).replace("\0", "$url")
