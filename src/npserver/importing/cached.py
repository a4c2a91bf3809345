"""`proxy_cache` as `cache` of a proxy rule. Called by `importing.proxied`."""

from __future__ import annotations

from typing import Any

from npserver.importing.draft import Draft
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, seconds, text

_FAILURES = {"error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504"}


def cache_keys(scope: Scope, draft: Draft, comments: list[str]) -> dict[str, Any]:
    """Return the key for a cache; empty without one."""
    zones = scope.find("proxy_cache")
    if not zones or zones[-1].args[0] == "off":
        return {}
    one, found = zones[-1], {}
    try:
        found = _keys(scope, one.args[0])
    except NoCounterpart as error:
        comments.append(draft.lose(one, str(error)))
        return {}
    comments.append(
        f"{one.place}: {one.text[:80]}: in memory, unless 'directory' is set; requests with cookies pass it"
    )
    exceptions = [*scope.find("proxy_cache_bypass"), *scope.find("proxy_no_cache")]
    comments += [draft.lose(other, "a response decides itself whether it is stored") for other in exceptions]
    return {"cache": found or True}


def _keys(scope: Scope, zone: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    paths = [one for one in scope.find("proxy_cache_path") if any(w.startswith(f"keys_zone={zone}:") for w in one.args)]
    inactive = next((word[9:] for one in paths for word in one.args if word.startswith("inactive=")), "10m")
    for one in scope.find("proxy_cache_valid"):
        *codes, time = one.args
        if not codes or codes[0] in ("200", "any"):
            found.setdefault("default_ttl", seconds(time))
    uses = set(scope.words("proxy_cache_use_stale"))
    if uses & _FAILURES:
        found["stale_on_error"] = seconds(inactive)
    if "updating" in uses and scope.word("proxy_cache_background_update") == "on":
        found["stale"] = seconds(inactive)
    if key := scope.word("proxy_cache_key"):
        found["key"] = text(key.replace("$proxy_host", ""))
    for name in ("proxy_cache_lock", "proxy_cache_min_uses", "proxy_cache_revalidate", "proxy_cache_lock_timeout"):
        scope.find(name)
    return found
