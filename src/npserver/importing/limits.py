"""`limit_req`, `limit_conn` and `limit_rate` as limits of ours. Called by `importing.access`."""

from __future__ import annotations

import re
from typing import Any

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, size, text

_PER_CLIENT = {"$binary_remote_addr", "$remote_addr"}


def limits(scope: Scope, draft: Draft, comments: list[str]) -> dict[str, Any]:
    """Return the keys for limits; those by name are added to the draft."""
    found: dict[str, Any] = {}
    for number, one in enumerate(scope.find("limit_req")):
        try:
            if number:
                raise NoCounterpart("a rule has one 'rate_limit'")
            found["rate_limit"] = _rate(one, scope, draft, comments)
        except NoCounterpart as error:
            comments.append(draft.lose(one, str(error)))
    together: dict[str, int] = {}
    for one in scope.find("limit_conn"):
        zone = _zone(scope, "limit_conn_zone", one.args[0])
        if zone is None or len(one.args) != 2 or not re.fullmatch(r"\d{1,9}", one.args[1]):
            comments.append(draft.lose(one, "no limit that npserver knows"))
            continue
        if zone.args[0] not in _PER_CLIENT:
            comments.append(f"{one.place}: {one.text[:80]}: of all requests of this rule together")
        together["per_client" if zone.args[0] in _PER_CLIENT else "all"] = int(one.args[1])
    if together:
        found["max_requests"] = together
    return {**found, **_bandwidth(scope, draft, comments)}


def _zone(scope: Scope, name: str, zone: str) -> Directive | None:
    for one in scope.find(name):
        if f"zone={zone}" in [word.partition(":")[0] for word in one.args[1:]]:
            return one
    return None


def _rate(one: Directive, scope: Scope, draft: Draft, comments: list[str]) -> str:
    words = {key: value for key, _, value in (word.partition("=") for word in one.args)}
    zone = _zone(scope, "limit_req_zone", words.get("zone", ""))
    rates = (
        [match for word in zone.args[1:] if (match := re.fullmatch(r"rate=(\d{1,6})r/([sm])", word))] if zone else []
    )
    if zone is None or not rates or not re.fullmatch(r"\d{1,6}", words.get("burst", "0")):
        raise NoCounterpart("no limit that npserver knows")
    entry: dict[str, Any] = {
        "rate": f"{rates[0][1]}/{rates[0][2]}",
        "burst": min(int(words.get("burst", "0")) + 1, 1_000_000),
    }
    if zone.args[0] not in _PER_CLIENT:
        entry["key"] = text(zone.args[0].replace("$binary_remote_addr", "$remote_addr"))
    status = scope.word("limit_req_status", "503")
    if status != "429":
        entry["status"] = int(status) if re.fullmatch(r"[45]\d\d", status) else 503
    if scope.word("limit_req_dry_run") == "on":
        entry["dry_run"] = True
    if "burst" in words and "nodelay" not in words:
        comments.append(f"{one.place}: {one.text[:80]}: requests of a burst are not delayed here")
    limits = draft.top.setdefault("rate_limits", {})
    name = words["zone"]
    while limits.get(name, entry) != entry:
        name += "-"
    limits[name] = entry
    return name


def _bandwidth(scope: Scope, draft: Draft, comments: list[str]) -> dict[str, Any]:
    for one in scope.find("limit_rate"):
        try:
            rate, after = size(one.args[0]), size(scope.word("limit_rate_after", "0"))
        except NoCounterpart as error:
            comments.append(draft.lose(one, str(error)))
            continue
        if rate == 0:
            return {}
        return {"bandwidth": {"per_answer": rate, "after": after} if after else rate}
    return {}
