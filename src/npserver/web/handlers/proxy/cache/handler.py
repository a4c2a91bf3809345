"""The handler of proxy rules with `cache`: answers from the store, and lets the proxy do the rest.

Requests of one client only (with cookies, with a body, with conditions for a change) are passed on as if there were no
cache. `fill` asks the upstream once for all requests that want the same response.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from npserver.errors import reason_of
from npserver.http import caching
from npserver.http.caching import Reuse
from npserver.http.request import NO_BODY
from npserver.http.request_target import path_with_slashes
from npserver.web.handlers.proxy.cache.answer import respond_stored
from npserver.web.handlers.proxy.cache.entry import Hit
from npserver.web.handlers.proxy.cache.fill import Fill
from npserver.web.handlers.proxy.cache.passed import PassedExchange
from npserver.web.handlers.proxy.cache.sent import has_unusual_names, told_by_proxy
from npserver.web.handlers.proxy.cache.wanted import Wanted
from npserver.web.handlers.proxy.request_head import prepare_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.cache.config import ResponseCache
    from npserver.web.handlers.proxy.cache.entry import Entry, StoredHead
    from npserver.web.handlers.proxy.cache.store import CacheStore
    from npserver.web.handlers.proxy.handler import ProxyHandler
    from npserver.web.variables import Template

log = logging.getLogger("npserver.proxy")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1
#: Fields by which some applications take another URI or method for the request's: no key has them.
_OVERRIDES = frozenset(
    b"x-original-url x-rewrite-url x-original-uri x-original-host x-host x-http-method x-http-method-override "
    b"x-method-override".split()
)
_CREDENTIALS = frozenset({b"authorization", b"cookie"})
_CONDITIONS_OF_CHANGES = frozenset({b"if-match", b"if-unmodified-since"})
_DEMANDS = frozenset({b"cache-control", b"pragma"})
SURE_S = 0.01  # how long a response in memory is used before its file is looked at again
_APART_S = 60.0  # how long requests for a response that could not be shared do not wait for each other
_MAX_APART = 4096
#: Reasons that lie in a request: they say nothing about others.
_OWN_REASONS = frozenset({"Authorization", "no-store of the request"})
RESULTS = ("hit", "stale", "stale_on_error", "miss", "collapsed", "validated", "passed", "stored", "evicted")


class KnownRequest(Struct, eq=False):
    """What a request is for the cache, kept in the request: equal requests of all clients are the same object."""

    handler: CacheHandler
    scheme: str
    key: bytes
    digest: str
    url: str
    is_simple: bool  # it demands nothing of the cache


class CacheHandler:
    """Answers the requests of a proxy rule from its cache."""

    def __init__(
        self,
        inner: ProxyHandler,
        store: CacheStore,
        settings: ResponseCache,
        context: Context,
        *,
        namespace: bytes,
        key: Template | None,
        identities: tuple[Template, ...],  # what the rule's `headers` tell of who has signed in
        config_key: str,
    ) -> None:
        self.inner = inner
        self.proxy = inner.proxy
        self.redirects_to_slash = inner.redirects_to_slash
        self.store = store
        self.settings = settings
        self.max_object = int(settings.max_object or 0)
        self.context = context
        self._namespace = namespace  # of the rule: no other rule's responses are served
        self._key = key
        self._identities = identities
        self._config_key = config_key
        changes = inner.proxy.settings.changes
        #: The rule's `headers`, if their values differ from request to request.
        self._changes = None if changes is None or changes.is_fixed else changes
        #: Whether they make credentials of other parts of a request.
        self._sets_credentials = self._changes is not None and self._changes.sets(_CREDENTIALS)
        #: Whether a key, and whether a request is for the cache, depends on the request and the scheme only.
        trusted = inner.proxy.settings.trusted
        self._keeps_keys = key is None and trusted is None and not self._sets_credentials and not identities
        self._fills: dict[str, Fill] = {}
        self._apart: dict[str, float] = {}  # names whose requests do not wait for each other, until when
        self._is_making_room = False
        self._has_logged = False
        self._has_bound = False  # connections to the upstream belong to clients that have signed in on them
        self._slots = {name: context.row.slot(f"cache.{name}") for name in RESULTS}
        self._row_slots, self._hit_slot = context.row.slots, self._slots["hit"]

    def __repr__(self) -> str:
        return f"<CacheHandler {self.inner!r} {self.store!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Answer from the store, or let the proxy ask the upstream."""
        # hot: edge-cache
        request = exchange.request
        kept = request.handler_cache
        if (
            type(kept) is KnownRequest
            and kept.handler is self and kept.scheme == exchange.scheme and exchange.private_upstreams is None
        ):  # fmt: skip
            fields = request.fields if self._changes is None else self.fields_of(exchange)
            wanted = Wanted(exchange, fields, kept.key, kept.digest, kept.url)
        else:
            if reason := self._reason_to_pass(exchange):
                self.pass_on(exchange, reason)
                return
            wanted = self._wanted(exchange)
            if self._keeps_keys:
                is_simple = request.fields.keys().isdisjoint(_DEMANDS)
                request.handler_cache = KnownRequest(
                    self, exchange.scheme, wanted.key, wanted.digest, wanted.url, is_simple
                )
        entry = self.find(wanted)
        use = self._use(entry, request) if entry is not None else Reuse.VALIDATE
        if entry is not None and use is not Reuse.VALIDATE and self.serve(exchange, entry, b"hit"):
            self.count("hit" if use is Reuse.FRESH else "stale")
            if use is Reuse.STALE:
                self._validate_behind(wanted, entry)
            return
        control = caching.read_directives(request.fields.get(b"cache-control"))
        if b"only-if-cached" in control:
            exchange.fail(504, "not in the cache, and only-if-cached, RFC 9111 §5.2.1.7", level=logging.DEBUG)
            return
        self._miss(wanted, entry, control)

    def prepared(self, request: Request) -> Hit | None:
        """Return the answer to a plain request that was asked before, if it is in memory and fresh.

        Not with an access log, in which `upstream` is to say that it came from the cache.
        """
        # hot: edge-cache
        kept = request.handler_cache
        if type(kept) is not KnownRequest or kept.handler is not self or not kept.is_simple:
            return None
        if self._has_bound or self.context.access_log.enabled:
            return None
        entry = self.store.known.get(kept.digest)
        if entry is None or entry.head.key != kept.key:
            return None
        if entry.sure_until <= monotonic() and not self._is_sure(entry):
            return None
        self._row_slots[self._hit_slot] += 1
        return entry.hit

    def _is_sure(self, entry: Entry) -> bool:
        """Look whether a response is whole, fresh, and still in its file; make the answer for this second."""
        head, now_s = entry.head, self.context.wall_clock()
        age_s = caching.age_of(head.age_s, head.received_s, now_s)
        if (
            entry.body is None or head.status != 200 or head.vary
            or age_s >= head.freshness.lifetime_s or not self.store.is_unchanged(entry)
        ):  # fmt: skip
            return False
        if entry.hit is None or entry.hit.age_s != int(age_s):
            entry.hit = Hit(head.status, _hit_fields(head, age_s, b"hit"), entry.body, int(age_s))
            self.store.touch(entry, now_s)
        entry.sure_until = monotonic() + SURE_S
        return True

    # ── deciding ──

    def _reason_to_pass(self, exchange: Exchange) -> bytes:
        """Return why a request is not for the cache, for Cache-Status (RFC 9211 §2.2); empty if it is."""
        request = exchange.request
        if request.method != "GET" and request.method != "HEAD":
            return b"fwd=method"
        if exchange.private_upstreams is not None:
            self._has_bound = True
        if request.framing is not NO_BODY or request.upgrade or exchange.private_upstreams is not None:
            return b"fwd=bypass"
        fields = request.fields if not self._sets_credentials else self.fields_of(exchange)
        if b"cookie" in fields and not self.settings.cookies:
            return b"fwd=bypass; detail=cookie"
        if not fields.keys().isdisjoint(_OVERRIDES) or not fields.keys().isdisjoint(_CONDITIONS_OF_CHANGES):
            return b"fwd=bypass"
        if has_unusual_names(fields):
            return b"fwd=bypass; detail=field-name"
        if request.block.own or any(one(exchange) for one in self._identities):
            # written by a sign-in, such as the user's name: the response may be for this user
            return b"fwd=bypass; detail=sign-in"
        if b"authorization" in fields and prepare_fields(request.block).binds_connection:
            self._has_bound = True
            return b"fwd=bypass"
        return b""

    def _wanted(self, exchange: Exchange) -> Wanted:
        request = exchange.request
        query = f"?{request.query}" if request.has_query else ""
        path = request.path
        rule = self.proxy.settings.rule
        if not rule.merge_slashes:
            path = path_with_slashes(request.target, path)
        url = f"{exchange.scheme}://{request.authority.lower()}{path}{query}"
        parts = [url if self._key is None else self._key(exchange)]
        if self._key is not None and path != request.path:
            parts.append(path)
        trusted = self.proxy.settings.trusted
        if trusted is not None and exchange.peer_ip in trusted:
            parts += told_by_proxy(request)
        key = "\n".join(parts).encode("utf-8", "surrogateescape")
        digest = blake2b(self._namespace + key, digest_size=20).hexdigest()
        return Wanted(exchange, self.fields_of(exchange), key, digest, url)

    def find(self, wanted: Wanted) -> Entry | None:
        """Return the stored response for a request, fresh or not."""
        return self.store.find(wanted.digest, wanted.key, wanted.fields)

    def fields_of(self, exchange: Exchange) -> dict[bytes, bytes]:
        """Return the fields of a request as the upstream is sent them."""
        fields = exchange.request.fields
        return fields if self._changes is None else self._changes.on_fields(exchange, fields)

    def _age(self, entry: Entry) -> float:
        return caching.age_of(entry.head.age_s, entry.head.received_s, self.context.wall_clock())

    def _use(self, entry: Entry, request: Request) -> Reuse:
        return caching.reuse(entry.head.freshness, self._age(entry), request.fields, float(self.settings.stale))

    def is_fresh(self, entry: Entry) -> bool:
        """Whether a response is fresh, whatever a request demands."""
        return self._age(entry) < entry.head.freshness.lifetime_s

    def may_serve_after_error(self, entry: Entry) -> bool:
        """Whether a response may be served where the upstream fails (RFC 5861 §4)."""
        freshness = entry.head.freshness
        allowed_s = caching.stale_time(freshness, freshness.stale_on_error_s, self.settings.stale_on_error)
        return allowed_s > 0 and self._age(entry) < freshness.lifetime_s + allowed_s

    # ── answering ──

    def serve(self, exchange: Exchange, entry: Entry, status: bytes) -> bool:
        """Answer from a stored response. Return False if it is gone. `status`: for Cache-Status."""
        if exchange.is_gone:
            return True
        age_s, head = self._age(entry), entry.head
        now_s = self.context.wall_clock()
        fields = _hit_fields(head, age_s, status)
        exchange.upstream = exchange.upstream or "cache"
        exchange.cache_status = status
        if not respond_stored(exchange, entry, fields, now_s):
            return False
        self.store.touch(entry, now_s)
        return True

    def pass_on(self, exchange: Exchange, status: bytes) -> None:
        """Let the proxy answer as if there were no cache. `status`: for Cache-Status."""
        if exchange.is_gone:
            return
        request = exchange.request
        invalidate: Callable[[], None] | None = None
        if request.method not in _SAFE:
            digest = self._wanted(exchange).digest
            invalidate = lambda: self.store.remove(digest)  # noqa: E731
        self.count("passed")
        exchange.cache_status = status
        passed = PassedExchange(exchange, b"Cache-Status: npserver; %b\r\n" % status, invalidate)
        self.inner.handle(cast("Exchange", passed))

    def _miss(self, wanted: Wanted, entry: Entry | None, control: caching.Directives) -> None:
        """Ask the upstream, together with others that want the same."""
        exchange = wanted.exchange
        request = exchange.request
        wanted.name = self.store.claim_name(wanted.digest, wanted.key, wanted.fields)
        why = wanted.why_asked(is_fresh=None if entry is None else self.is_fresh(entry))
        if request.method == "HEAD" or b"range" in request.fields or b"no-store" in control:
            self.pass_on(exchange, why)
            return
        fill = self._fills.get(wanted.name)
        if fill is not None:
            if not self.is_apart(wanted.name) and fill.add(exchange):
                self.count("collapsed")
            else:
                self.pass_on(exchange, why)
            return
        self.count("miss")
        fill = self._fills[wanted.name] = Fill(self, wanted, entry, why)
        fill.add(exchange)
        self._begin(fill)

    def _validate_behind(self, wanted: Wanted, entry: Entry) -> None:
        """Validate a response that was served stale, without a client that waits for it."""
        wanted.name = self.store.claim_name(wanted.digest, wanted.key, wanted.fields)
        if wanted.name not in self._fills and wanted.exchange.request.method == "GET":
            fill = self._fills[wanted.name] = Fill(self, wanted, entry, b"fwd=stale")
            self._begin(fill)

    def _begin(self, fill: Fill) -> None:
        try:
            fill.begin()
        except OSError as error:
            self.store_failed(error)
            self.forget(fill)
            for reader in list(fill.readers):
                reader.done()
                self.pass_on(reader.exchange, b"fwd=uri-miss")

    # ── for fills ──

    def also_by(self, name: str, fill: Fill) -> None:
        """Find a fill by another name too: that of the variant which it turned out to be."""
        self._fills.setdefault(name, fill)
        fill.names.add(name)

    def forget(self, fill: Fill) -> None:
        """A fill is over."""
        for name in fill.names:
            if self._fills.get(name) is fill:
                del self._fills[name]

    def stored(self, name: str) -> None:
        """A response is stored."""
        self.count("stored")
        self._apart.pop(name, None)

    def is_apart(self, name: str) -> bool:
        """Whether requests for a response do not wait for each other."""
        return bool(self._apart) and self._apart.get(name, 0.0) > self.context.loop.time()

    def keep_apart(self, name: str, reason: str) -> None:
        """For a while do not let the requests for a response wait for each other: it is not stored."""
        if reason in _OWN_REASONS:
            return
        if len(self._apart) >= _MAX_APART:
            self._apart.clear()
        self._apart[name] = self.context.loop.time() + _APART_S

    def count(self, result: str) -> None:
        """Count what became of a request."""
        self.context.row.slots[self._slots[result]] += 1

    def make_room(self) -> None:
        """Evict responses, in a thread."""
        if self._is_making_room:
            return
        self._is_making_room = True
        job = self.context.loop.run_in_executor(None, self.store.tidy)
        job.add_done_callback(
            lambda done: self._made_room(0 if done.cancelled() or done.exception() else done.result())
        )

    def _made_room(self, evicted: int) -> None:
        self._is_making_room = False
        self.context.row.slots[self._slots["evicted"]] += evicted

    def store_failed(self, error: OSError) -> None:
        """The directory cannot be used: say so once."""
        if not self._has_logged:
            self._has_logged = True
            log.warning(
                "responses cannot be stored in %s: %s (%s.directory; logged once per rule and worker)",
                self.store.directory, reason_of(error), self._config_key,
            )  # fmt: skip


def _hit_fields(head: StoredHead, age_s: float, status: bytes) -> bytes:
    """Return the field lines of a stored response for an answer. `status`: for Cache-Status."""
    ttl_s = int(head.freshness.lifetime_s - age_s)
    return b"%bAge: %d\r\nCache-Status: npserver; %b; ttl=%d\r\n" % (head.fields, int(age_s), status, ttl_s)
