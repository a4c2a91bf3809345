"""`proxy_pass`, `grpc_pass` and `fastcgi_pass`, as handlers of ours. Called by `importing.handlers`."""

from __future__ import annotations

import re
from typing import Any

from npserver.importing.cached import cache_keys
from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.place import Place
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, constant, seconds, text
from npserver.importing.upstreams import Upstreams

_TARGET = re.compile(r"(https?)://(unix:[^:]+(?=:|$)|[^/?#]+):?(/[^?#]*)?")
#: Fields that are sent to upstreams in any case, with these values of nginx.
_SENT = {
    "x-real-ip": {"$remote_addr", "$realip_remote_addr"},
    "x-forwarded-for": {"$proxy_add_x_forwarded_for", "$remote_addr"},
    "x-forwarded-proto": {"$scheme", "$http_x_forwarded_proto"},
    "x-forwarded-host": {"$host", "$http_host"},
    "upgrade": {"$http_upgrade"},
    "early-data": {"$ssl_early_data"},  # there is none
    "content-length": {""},
    "connection": {"$connection_upgrade", "upgrade", "Upgrade", "", "$http_connection"},
}
_STANDARD_PARAMS = {
    "SCRIPT_FILENAME", "SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED", "QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE",
    "CONTENT_LENGTH", "REQUEST_URI", "DOCUMENT_URI", "DOCUMENT_ROOT", "SERVER_PROTOCOL", "GATEWAY_INTERFACE", "HTTPS",
    "SERVER_SOFTWARE", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_ADDR", "SERVER_PORT", "SERVER_NAME", "REDIRECT_STATUS",
    "REQUEST_SCHEME", "HTTP_PROXY",
}  # fmt: skip


def proxy_keys(one: Directive, place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return the keys for a `proxy_pass`. Raises: NoCounterpart."""
    scope, location = place.scope, place.location
    written = constant(one.args[0], scope) if "$request_uri" not in one.args[0] else one.args[0]
    match = _TARGET.fullmatch(written.removesuffix("$request_uri"))
    if match is None or "$" in match[0]:
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: no target that npserver knows")
    uri = upstreams.uri(match[1], match[2])
    path = match[3]
    keys: dict[str, Any] = {"handler": "proxy", "proxy_pass": uri}
    if path is not None and "$" in one.args[0].partition("://")[2] and "$request_uri" not in one.args[0]:
        keys["rewrite"] = {"^.*$": path}  # with variables, the path in them is the whole path
    elif path is not None and not place.regex and path != location:
        if place.is_exact:
            keys["rewrite"] = {f"^{re.escape(location)}$": path.replace("$", "")}
        elif path.endswith("/") == location.endswith("/") or (path == "/" and location.count("/") == 1):
            keys["proxy_pass"] = uri + path.rstrip("/") if path != "/" else uri
            if location != "/":
                bare = location.rstrip("/")
                keys["strip_prefix"] = True if bare == place.prefix else bare
        else:
            raise NoCounterpart(f"{one.place}: {one.text[:100]}: only one of location and target ends with a slash")
    for rewrite in scope.own("rewrite"):
        if len(rewrite.args) == 3 and rewrite.args[2] == "break" and "$" not in re.sub(r"\$\d", "", rewrite.args[1]):
            keys.setdefault("rewrite", {})[rewrite.args[0]] = rewrite.args[1]
        else:
            comments.append(draft.lose(rewrite, "no counterpart"))
    _request_headers(keys, scope, draft, comments)
    if uri.startswith("upstream:") and not keys.get("preserve_host") and "Host" not in keys.get("headers", {}):
        keys.setdefault("headers", {})["Host"] = match[2]  # as by nginx; ours would be that of the target
    _timeouts(keys, scope, "proxy")
    keys |= cache_keys(scope, draft, comments)
    if scope.word("proxy_redirect") == "off":
        keys["rewrite_location"] = False
    if match[1] == "https":
        keys["tls"] = _tls(scope)
    return keys


def grpc_keys(one: Directive, place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return the keys for a `grpc_pass`. Raises: NoCounterpart."""
    scope = place.scope
    target = constant(one.args[0], scope)
    scheme, _, host = target.rpartition("://")
    if scheme not in ("", "grpc", "grpcs") or "/" in host:
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: no target that npserver knows")
    keys: dict[str, Any] = {"handler": "proxy", "proxy_pass": upstreams.uri(scheme or "grpc", host)}
    if scheme == "grpcs":
        keys["tls"] = {"http2": True, "insecure": True}
    _timeouts(keys, scope, "grpc")
    return keys


def fastcgi_keys(
    one: Directive, scope: Scope, draft: Draft, upstreams: Upstreams, comments: list[str]
) -> dict[str, Any]:
    """Return the keys for a `fastcgi_pass`. Raises: NoCounterpart."""
    keys: dict[str, Any] = {
        "handler": "fastcgi",
        "to": upstreams.uri("tcp", constant(one.args[0], scope)),
    }
    env: dict[str, str] = {}
    for param in scope.find("fastcgi_param"):
        if param.args[0] not in _STANDARD_PARAMS:
            try:
                env[param.args[0]] = text(param.args[1], draft.variables(scope, param.args[1]))
            except NoCounterpart as error:
                comments.append(draft.lose(param, str(error)))
    if env:
        keys["env"] = env
    for name in ("fastcgi_index", "fastcgi_split_path_info", "try_files", "set"):
        scope.find(name)
    _timeouts(keys, scope, "fastcgi")
    return keys


def _request_headers(keys: dict[str, Any], scope: Scope, draft: Draft, comments: list[str]) -> None:
    headers: dict[str, str | None] = {}
    taken = {one.args[0] for one in scope.find("auth_request_set") if one.args}
    for one in scope.find("proxy_set_header"):
        name, value = one.args[0], one.args[1] if len(one.args) > 1 else ""
        if value in _SENT.get(name.lower(), ()) or value in taken:
            continue
        if name.lower() == "x-forwarded-proto" and _is_forwarded_scheme(value, draft):
            continue
        if name.lower() == "host" and value in ("$host", "$http_host", "$host:$server_port", "$server_name"):
            keys["preserve_host"] = True
            continue
        if name.lower() == "host" and value in ("$proxy_host", "$proxy_host:$proxy_port"):
            continue
        try:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise NoCounterpart("not a valid header field")
            if name.lower() in ("content-length", "transfer-encoding", "connection", "upgrade"):
                raise NoCounterpart("npserver sets this field itself")
            headers[name] = text(value, draft.variables(scope, value)) or None
        except NoCounterpart as error:
            comments.append(draft.lose(one, str(error)))
    if headers:
        keys["headers"] = headers


def _is_forwarded_scheme(value: str, draft: Draft) -> bool:
    """Whether a variable of a `map` is the scheme that a proxy in front tells of, else that of the connection."""
    one = draft.maps.get(value)
    if one is None or one.args[0] != "$http_x_forwarded_proto":
        return False
    one.used = True
    values = {inner.args[0] for inner in one.block or [] if inner.args}
    return values <= {"$scheme", "https", "http", "$http_x_forwarded_proto"}


def _timeouts(keys: dict[str, Any], scope: Scope, kind: str) -> None:
    found: dict[str, float] = {}
    for theirs, ours in (("connect", ["connect"]), ("send", ["send"]), ("read", ["response", "read"])):
        if value := scope.word(f"{kind}_{theirs}_timeout"):
            found.update(dict.fromkeys(ours, seconds(value)))
    if found:
        keys["timeouts"] = found


def _tls(scope: Scope) -> dict[str, Any]:
    found: dict[str, Any] = {}
    name = scope.word("proxy_ssl_name")
    if name and "$" not in name:
        found["server_name"] = name
    scope.find("proxy_ssl_server_name")
    if scope.word("proxy_ssl_verify") == "on":
        if authority := scope.word("proxy_ssl_trusted_certificate"):
            found["ca"] = authority
    else:
        found["insecure"] = True  # nginx verifies upstreams only if told to
    return found
