"""Cross-Origin Resource Sharing by the Fetch standard (https://fetch.spec.whatwg.org/#http-cors-protocol).

Preflights are answered here, before any sign-in, as browsers send them without credentials. All other requests are
passed on, whatever their origin: it is the browser that keeps the answer from a page of an origin that is not named.
The `Access-Control-` fields of the application are replaced, so that none is there twice or says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.vary import with_vary
from npserver.regex import regex
from npserver.web.exchange import Middleware, ResponseFilter
from npserver.web.middleware.headers.changes import remove_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange, ResponseStart

ALL = "*"
_PREFIX = b"access-control-"
_NAMES = regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*")
_SUBDOMAIN = regex(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
MAX_ECHOED_BYTES = 2048  # of names of fields that a preflight asks for


class Origins:
    """A set of origins, as browsers serialize them: in lower case, without a default port."""

    __slots__ = ("_exact", "_wildcards", "are_all")

    def __init__(self, texts: Sequence[str]) -> None:
        self.are_all = ALL in texts
        self._exact = frozenset(text.encode("ascii") for text in texts if "*" not in text)
        #: What stands before and after the star of each wildcard: `https://` and `.example.com`.
        self._wildcards = [tuple(text.encode("ascii").split(b"*", 1)) for text in texts if "*" in text and text != ALL]

    def __contains__(self, origin: bytes) -> bool:
        if self.are_all or origin in self._exact:
            return True
        return any(
            len(origin) > len(before) + len(after)
            and origin.startswith(before)
            and origin.endswith(after)
            and _SUBDOMAIN.fullmatch(origin[len(before) : len(origin) - len(after)])
            for before, after in self._wildcards
        )


class CorsPolicy(Middleware):
    """The policy of one rule.

    Args:
        methods: allowed in preflights; `*` allows that which is asked for.
        headers: as `methods`.
        expose: names of response fields.
        key: the config key of the origins, for the log.
    """

    def __init__(
        self, context: Context, origins: Origins, methods: Sequence[str], headers: Sequence[str],
        expose: Sequence[str], max_age_s: int, key: str, *, credentials: bool,
    ) -> None:  # fmt: skip
        self._origins = origins
        self._methods = None if ALL in methods else ", ".join(methods).encode("ascii")
        self._headers = None if ALL in headers else ", ".join(headers).encode("ascii")
        self._max_age = b"Access-Control-Max-Age: %d\r\n" % max_age_s
        self._credentials = b"Access-Control-Allow-Credentials: true\r\n" if credentials else b""
        exposed = b"Access-Control-Expose-Headers: %b\r\n" % ", ".join(expose).encode("ascii") if expose else b""
        self._shared = self._credentials + exposed
        self._key = key
        self._slots = context.row.slots
        self._allowed = context.row.slot("http.preflights.allowed")
        self._refused = context.row.slot("http.preflights.refused")

    def request(self, exchange: Exchange) -> None:
        """Answer a preflight; let all other requests proceed."""
        if not _is_preflight(exchange):
            exchange.proceed()
            return
        fields = exchange.request.fields
        origin = fields[b"origin"]
        if origin not in self._origins:
            self._slots[self._refused] += 1
            exchange.fail(403, "the origin of the preflight is not allowed", self._key, b"Vary: Origin\r\n")
            return
        self._slots[self._allowed] += 1
        method = fields[b"access-control-request-method"] if self._methods is None else self._methods
        names = fields.get(b"access-control-request-headers", b"") if self._headers is None else self._headers
        lines = [self._allow(origin), self._credentials, self._max_age]
        if len(method) <= MAX_ECHOED_BYTES and _NAMES.fullmatch(method):
            lines.append(b"Access-Control-Allow-Methods: %b\r\n" % method)
        if len(names) <= MAX_ECHOED_BYTES and _NAMES.fullmatch(names):
            lines.append(b"Access-Control-Allow-Headers: %b\r\n" % names)
        lines.append(b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n")
        exchange.respond(204, b"".join(lines))

    def response(self, exchange: Exchange) -> ResponseFilter | None:
        """Return the filter that puts this policy's fields in the place of the application's."""
        return None if _is_preflight(exchange) else _CorsFilter(self, exchange)

    def fields_for(self, origin: bytes | None, fields: bytes) -> bytes:
        """Return the field lines of an answer to a page of `origin`; None: the request names none."""
        fields = remove_fields(fields, lambda name: name.startswith(_PREFIX))
        if not self._origins.are_all:
            fields = with_vary(fields, b"Origin")
            if origin is None or origin not in self._origins:
                return fields
        return fields + self._allow(origin) + self._shared

    def _allow(self, origin: bytes | None) -> bytes:
        allowed = b"*" if origin is None or self._origins.are_all else origin
        return b"Access-Control-Allow-Origin: %b\r\n" % allowed


class _CorsFilter(ResponseFilter):
    __slots__ = ("_exchange", "_policy")

    def __init__(self, policy: CorsPolicy, exchange: Exchange) -> None:
        self._policy = policy
        self._exchange = exchange

    def start(self, head: ResponseStart) -> bool:
        """Change the fields; the body passes by."""
        head.fields = self._policy.fields_for(self._exchange.request.fields.get(b"origin"), head.fields)
        return False


def _is_preflight(exchange: Exchange) -> bool:
    request = exchange.request
    if request.method != "OPTIONS":
        return False
    return b"origin" in request.fields and b"access-control-request-method" in request.fields
