"""What a shared cache may store and reuse (RFC 9111, with RFC 5861's stale responses). Pure.

Called by `web.handlers.proxy.cache` with the fields of requests and responses, and the time of day. A directive that
could be read in two ways is read in the way that shares less.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from npserver.http.dates import parse_date
from npserver.regex import regex

#: Statuses whose responses may be stored without explicit freshness (RFC 9110 §15.1), and so go by `default_ttl`.
#: 206 is not among them, nor 501: a partial answer is never stored, nor a failure without the origin's word.
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414})
#: Statuses that are understood: with explicit freshness they may be stored.
UNDERSTOOD = HEURISTIC | {302, 303, 307, 400, 403, 421, 451, 500, 501, 502, 503, 504}
MAX_S = 2**31  # a longer time is taken for this (RFC 9111 §1.2.2)
#: Fields with the client's address, which a proxy writes itself: what varies by them is for one client.
ADDRESSES = frozenset({b"x-forwarded-for", b"x-real-ip", b"forwarded"})
MAX_VARY_NAMES = 16  # of a Vary field; a response with more is not stored

_DIRECTIVE = regex(rb"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?""")
#: Fields of a 304 that do not replace those of the stored response (RFC 9111 §3.2).
_KEPT = frozenset({b"content-length", b"content-encoding", b"content-type", b"content-range", b"etag", b"age", b"vary"})

Directives = dict[bytes, bytes]


class Freshness(Struct, frozen=True):
    """How long a response may be reused, from its fields. Times in seconds."""

    lifetime_s: float  # 0: it must be validated before each use
    may_be_stale: bool  # False: never served stale (§4.2.4)
    is_explicit: bool  # the origin has said how long
    stale_s: float | None = None  # its stale-while-revalidate (RFC 5861 §3)
    stale_on_error_s: float | None = None  # its stale-if-error (RFC 5861 §4)
    is_own_s_maxage: bool = False  # it has s-maxage, so a stale one needs the origin's own word (§5.2.2.10)


class Reuse(Enum):
    """What a stored response is good for."""

    FRESH = "fresh"
    STALE = "stale"  # it may be served while it is validated
    VALIDATE = "validate"  # it must be validated first


def read_directives(value: bytes | None) -> Directives:
    """Return the directives of a Cache-Control field by lower-case name (RFC 9111 §5.2).

    Of two with one name the shorter time counts. Names are found even where a comma is missing.
    """
    found: Directives = {}
    for name, quoted, token in _DIRECTIVE.findall(value or b""):
        name = name.lower()
        argument = quoted or token
        if name in found and _seconds(found[name]) < _seconds(argument):
            continue
        found[name] = argument
    return found


def read_fields(lines: bytes) -> dict[bytes, bytes]:
    """Return the values of response field lines by lower-case name; repeated fields joined by ", "."""
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            key, value = name.lower(), value.strip(b" \t")
            fields[key] = fields[key] + b", " + value if key in fields else value
    return fields


def freshness_of(status: int, fields: dict[bytes, bytes], default_s: float, now_s: float) -> Freshness:
    """Return how long a response may be reused (RFC 9111 §4.2.1). `default_s`: where it does not say so itself."""
    control = read_directives(fields.get(b"cache-control"))
    is_explicit = True
    if b"s-maxage" in control:
        lifetime = _seconds(control[b"s-maxage"])
    elif b"max-age" in control:
        lifetime = _seconds(control[b"max-age"])
    elif b"expires" in fields:
        date = parse_date(fields[b"expires"].decode("latin-1"))
        lifetime = max(date - now_s, 0.0) if date is not None else 0.0  # §5.3: a malformed date lies in the past
    else:
        is_explicit = False
        has_pragma = b"cache-control" not in fields and b"no-cache" in fields.get(b"pragma", b"").lower()
        lifetime = 0.0 if has_pragma or status not in HEURISTIC else default_s
    if b"no-cache" in control:  # §5.2.2.4; with names of fields too
        lifetime, is_explicit = 0.0, True
    is_strict = not control.keys().isdisjoint((b"must-revalidate", b"proxy-revalidate", b"no-cache"))
    return Freshness(
        lifetime,
        not is_strict,
        is_explicit,
        _seconds(control[b"stale-while-revalidate"]) if b"stale-while-revalidate" in control else None,
        _seconds(control[b"stale-if-error"]) if b"stale-if-error" in control else None,
        b"s-maxage" in control,
    )


def reason_not_to_store(
    status: int, request: dict[bytes, bytes], fields: dict[bytes, bytes], freshness: Freshness
) -> str:
    """Return why the response to a GET may not be stored in a shared cache (RFC 9111 §3); "" if it may.

    `request`: the fields of the request.
    """
    control = read_directives(fields.get(b"cache-control"))
    if status not in UNDERSTOOD or (b"content-range" in fields):
        return "status"
    if b"no-store" in control:
        return "no-store"
    if b"private" in control:  # §5.2.2.7; with names of fields too
        return "private"
    if b"no-store" in read_directives(request.get(b"cache-control")):
        return "no-store of the request"
    if b"set-cookie" in fields or b"set-cookie2" in fields:
        return "Set-Cookie"
    if b"authorization" in request and control.keys().isdisjoint((b"public", b"s-maxage", b"must-revalidate")):
        return "Authorization"  # §3.5
    if vary_names(fields) is None:
        return "Vary"
    if b"www-authenticate" in fields or b"proxy-authenticate" in fields:
        return "authentication"
    if freshness.lifetime_s <= _seconds(fields.get(b"age", b"0")):
        has_validator = b"etag" in fields or b"last-modified" in fields
        if not (freshness.is_explicit and has_validator and status == 200):
            return "no freshness"
    return ""


def vary_names(fields: dict[bytes, bytes]) -> tuple[bytes, ...] | None:
    """Return the request fields by which a response was chosen (RFC 9110 §12.5.5); None if that cannot be told.

    A response with a Content-Encoding was chosen by Accept-Encoding, even if it does not say so.
    """
    names = {name.strip(b" \t").lower() for name in fields.get(b"vary", b"").split(b",")} - {b""}
    if fields.get(b"content-encoding", b"identity") != b"identity":
        names.add(b"accept-encoding")
    if b"*" in names or len(names) > MAX_VARY_NAMES or not names.isdisjoint(ADDRESSES):
        return None
    return tuple(sorted(names))


def vary_values(names: tuple[bytes, ...], request: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """Return the values of the fields of a request that Vary names, without optional white space (§4.1).

    A field that is absent differs from one that is empty.
    """
    return tuple([_normalize(request.get(name)) for name in names])


def age_of(age_s: float, received_s: float, now_s: float) -> float:
    """Return the current age of a stored response (§4.2.3). `age_s`: when it was received, at `received_s`."""
    return age_s + max(now_s - received_s, 0.0)


def received_age(fields: dict[bytes, bytes], delay_s: float) -> float:
    """Return the age of a response as it is received, `delay_s` after the request for it was sent (§4.2.3)."""
    return _seconds(fields[b"age"].partition(b",")[0].strip(b" ")) + delay_s if b"age" in fields else delay_s


def reuse(freshness: Freshness, age_s: float, request: dict[bytes, bytes], stale_s: float) -> Reuse:
    """Return what a stored response is good for, for a request with these fields (§4.2, §5.2.1).

    `stale_s`: how long a response is served stale while it is validated, unless it says so itself.
    """
    lifetime = freshness.lifetime_s
    if b"cache-control" in request:
        control = read_directives(request[b"cache-control"])
        if b"no-cache" in control:
            return Reuse.VALIDATE
        if b"max-age" in control and age_s > _seconds(control[b"max-age"]):
            return Reuse.VALIDATE
        if b"min-fresh" in control and age_s + _seconds(control[b"min-fresh"]) >= lifetime:
            return Reuse.VALIDATE
    elif b"no-cache" in request.get(b"pragma", b"").lower():
        return Reuse.VALIDATE
    if age_s < lifetime:
        return Reuse.FRESH
    if lifetime and age_s < lifetime + stale_time(freshness, freshness.stale_s, stale_s):
        return Reuse.STALE
    return Reuse.VALIDATE


def stale_time(freshness: Freshness, own_s: float | None, configured_s: float) -> float:
    """Return how long after its lifetime a response may be served (§4.2.4): by its own word, else the config's."""
    if not freshness.may_be_stale:
        return 0.0
    if own_s is not None:
        return own_s
    return 0.0 if freshness.is_own_s_maxage else configured_s


def updated_fields(stored: bytes, update: bytes) -> bytes:
    """Return the field lines of a stored response after a 304 with the lines `update` (§3.2, §4.3.4)."""
    fresh = [line for line in update.split(b"\r\n") if line and _name(line) not in _KEPT]
    names = {_name(line) for line in fresh}
    kept = [line for line in stored.split(b"\r\n") if line and _name(line) not in names]
    return b"".join([line + b"\r\n" for line in kept + fresh])


def without_field(lines: bytes, name: bytes) -> bytes:
    """Return field lines without those of one field. `name`: in lower case."""
    if name not in lines.lower():
        return lines
    return b"".join([line + b"\r\n" for line in lines.split(b"\r\n") if line and _name(line) != name])


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _normalize(value: bytes | None) -> bytes:
    if value is None:
        return b"\0"  # no value can hold it
    return b",".join([part.strip(b" \t") for part in value.split(b",")])


def _seconds(argument: bytes) -> float:
    """Return a number of seconds; 0 if it is malformed, as an invalid time is to be taken for a stale one (§4.2.1)."""
    if not argument.isdigit():
        return 0.0
    return float(min(int(argument), MAX_S)) if len(argument) < 20 else float(MAX_S)
