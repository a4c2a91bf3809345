"""What nginx does around the handlers: who may come in, header fields, error pages. Called by `importing.handlers`."""

from __future__ import annotations

import os
import re
from typing import Any

from npserver.importing.draft import Draft
from npserver.importing.guards import forward_auth
from npserver.importing.limits import limits
from npserver.importing.place import Place
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, seconds, size, text
from npserver.importing.upstreams import Upstreams

_FIELD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def common_keys(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return the keys of a rule that are the same for all handlers. Raises: NoCounterpart where none may come in."""
    scope = place.scope
    return {
        **networks_of(scope, comments),
        **_password(scope, draft, comments),
        **forward_auth(place, draft, upstreams, comments),
        **limits(scope, draft, comments),
        **response_headers(scope, draft, comments),
        **_error_pages(place, draft, comments),
        **log_key(scope),
    }


def log_key(scope: Scope) -> dict[str, Any]:
    """Return the key for `access_log off` of a location."""
    found = [one.args[0] for known in scope.names[1:] for one in known.get("access_log", ())]
    for one in scope.here("access_log"):
        one.used = one.used or one.args == ["off"]
    return {"log": False} if found and found[-1] == "off" else {}


def denies_all(scope: Scope) -> bool:
    """Whether nobody may come in."""
    found = scope.find("allow", "deny")
    return bool(found) and found[0].name == "deny" and found[0].args[0] == "all"


def networks_of(scope: Scope, comments: list[str]) -> dict[str, Any]:
    """Return the keys for `allow` and `deny`."""
    allow: list[str] = []
    deny: list[str] = []
    for one in scope.find("allow", "deny"):
        network = one.args[0]
        if network == "all":
            if one.name == "deny" and not allow:
                deny = ["0.0.0.0/0", "::/0"]
            found = {"allow": allow, "deny": deny} if one.name == "deny" else {"deny": deny}
            return {key: value for key, value in found.items() if value}
        if one.name == "deny" and allow:
            comments.append(f"{one.place}: {one.text}: 'deny' wins here, whatever the order")
        (allow if one.name == "allow" else deny).append(network)
    return {"deny": deny} if deny else {}


def _password(scope: Scope, draft: Draft, comments: list[str]) -> dict[str, Any]:
    realm, file = scope.word("auth_basic", "off"), scope.word("auth_basic_user_file")
    if scope.word("satisfy") == "any":
        comments.append("satisfy any: both the address and the password are needed here")
    if realm == "off":
        return {}
    for one in scope.find("auth_basic_user_file"):
        if "$" in file:
            comments.append(draft.lose(one, "variables in names of files"))
            raise NoCounterpart("a password file that depends on the request")
    if not file:
        raise NoCounterpart(f"auth_basic {realm[:40]}: there is no password file")
    return {"basic_auth": {"file": file, "realm": realm}}


def response_headers(scope: Scope, draft: Draft, comments: list[str]) -> dict[str, Any]:
    """Return the key for `add_header`, `expires` and the directives that hide fields of an upstream."""
    found: dict[str, Any] = {}
    for one in scope.find("proxy_hide_header", "fastcgi_hide_header"):
        found[one.args[0]] = None
    if expires := scope.find("expires"):
        if (age := _cache_control(expires[-1].args)) is not None:
            found["Cache-Control"] = age
        elif expires[-1].args != ["off"]:
            comments.append(draft.lose(expires[-1], "no counterpart"))
    for one in scope.find("add_header"):
        name, value = one.args[0], one.args[1]
        if not value or (name.lower(), value) == ("content-length", "0"):
            continue
        try:
            if not _FIELD.fullmatch(name) or any(ord(character) < 32 for character in value):
                raise NoCounterpart("not a valid header field")
            if name.lower() in ("alt-svc", "content-length", "connection", "date", "server"):
                raise NoCounterpart("npserver sets this field itself")
            ours = text(value, draft.variables(scope, value))
        except NoCounterpart as error:
            comments.append(draft.lose(one, str(error)))
            continue
        present = next((key for key in found if key.lower() == name.lower()), name)
        if found.get(present) is None:
            found[name] = ours
        elif isinstance(found[present], list):
            found[present].append(ours)
        else:
            found[present] = [found[present], ours]
    return {"response_headers": found} if found else {}


def _cache_control(words: list[str]) -> str | None:
    if words == ["max"]:
        return "max-age=315360000"
    if words == ["epoch"] or words[0].startswith("-"):
        return "no-cache"
    if len(words) == 1 and re.fullmatch(r"\+?\d{1,9}[smhdwMy]?", words[0]):
        return f"max-age={seconds(words[0].removeprefix('+'))}"
    return None


def _error_pages(place: Place, draft: Draft, comments: list[str]) -> dict[str, Any]:
    pages: dict[str, str] = {}
    for one in place.scope.find("error_page"):
        *codes, page = one.args
        if codes == ["401", "="] and place.scope.find("auth_request"):
            continue  # the page to sign in
        shown = place.site.find(page)
        around = shown.scope if shown else place.scope
        file = os.path.join(around.fill_in(around.word("root", "html")), page.lstrip("/"))
        if not page.startswith("/") or any(not code.isdigit() for code in codes):
            comments.append(draft.lose(one, "no counterpart"))
        elif not os.path.isfile(file):
            comments.append(draft.lose(one, f"no file {file} here; the key is 'error_pages'"))
        else:
            pages.update(dict.fromkeys(codes, file))
    return {"error_pages": pages} if pages else {}


def body_limit(scope: Scope) -> dict[str, Any]:
    """Return the limit of request bodies, if blocks below `http` have one of their own."""
    own = any("client_max_body_size" in known for known in scope.names[1:])
    return {"max_body_size": size(scope.word("client_max_body_size"))} if own else {}
