"""Compiles `cache` of proxy rules: the store of each directory, and the handler before the proxy's."""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.config.units import Size
from npserver.errors import clip
from npserver.runtime.compilation import PerCompilation
from npserver.runtime.context import PerProcess
from npserver.web.checks import rule_key
from npserver.web.handlers.proxy.cache.config import ResponseCache
from npserver.web.handlers.proxy.cache.directory import directory_of
from npserver.web.handlers.proxy.cache.handler import CacheHandler
from npserver.web.handlers.proxy.cache.sent import tells_identity
from npserver.web.handlers.proxy.cache.service import CacheService
from npserver.web.handlers.proxy.cache.store import CacheStore
from npserver.web.handlers.proxy.cache.tidy import find_stranger
from npserver.web.maps.compile import MAPS
from npserver.web.variables import compile_template, variable_names

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.handlers.proxy.config import ProxyRule
    from npserver.web.handlers.proxy.handler import ProxyHandler
    from npserver.web.variables import Template

_MAX_OBJECT = 16 << 20  # by default
_LIMITS = ("max_size", "max_entries", "max_variants", "worker_memory")

#: The rule that first names each directory, by which its limits go, and its store.
_DIRECTORIES: PerCompilation[dict[str, tuple[Path, ResponseCache, CacheStore]]] = PerCompilation(lambda _: {})
#: The stores of a process by directory and limits: they go on across reloads.
_STORES: PerProcess[dict[tuple[str, int, int, int, int], CacheStore]] = PerProcess(lambda _: {})


def compile_cache(compilation: Compilation, path: Path, rule: ProxyRule, inner: ProxyHandler) -> CacheHandler | None:
    """Make the handler of a rule with a cache; None if it has errors, which stand in the report."""
    place = (*path, "cache")
    cache = rule.cache if isinstance(rule.cache, ResponseCache) else ResponseCache()
    if cache.max_object is None:
        cache = replace(cache, max_object=Size(min(_MAX_OBJECT, cache.max_size // 10)))
    assert cache.max_object is not None
    report = compilation.report
    key = _compile_key(compilation, (*place, "key"), cache)
    store = _store(compilation, place, cache)
    if cache.max_object > cache.max_size // 10:
        report.error(
            (*place, "max_object"),
            f"'max_object' of {cache.max_object} bytes is more than a tenth of 'max_size', {cache.max_size} bytes: "
            "make one smaller or the other larger",
        )
    _check_match(report, path, rule)
    if inner.proxy.sticky is not None:
        report.warn(
            place,
            f"'cache': upstream {inner.proxy.upstream.name!r} has 'sticky', whose cookie comes with each first "
            "response: those are never stored; use one without it for this rule",
        )
    if store is None or (cache.key is not None and key is None):
        return None
    identity = _identity(compilation.document, rule, cache, inner)
    namespace = blake2b(identity.encode(errors="surrogateescape"), digest_size=16).digest()
    return CacheHandler(
        inner, store, cache, compilation.context, namespace=namespace, key=key,
        identities=_identities(compilation, rule, cache), config_key=rule_key(path, "cache"),
    )  # fmt: skip


def _identities(compilation: Compilation, rule: ProxyRule, cache: ResponseCache) -> tuple[Template, ...]:
    """Return the values of `headers` that tell who has signed in; none of them if the key has such a variable too."""
    maps = {name: section.from_ for name, section in compilation.config.maps.items()}
    if tells_identity(cache.key or "", maps):
        return ()
    texts = [one for value in rule.headers.values() for one in ([value] if isinstance(value, str) else value or ())]
    templates = []
    for text in texts:
        with contextlib.suppress(ValueError):  # an error of `headers`, which is reported there
            if tells_identity(text, maps):
                templates.append(compile_template(text, MAPS.of(compilation)))
    return tuple(templates)


def _check_match(report: Report, path: Path, rule: ProxyRule) -> None:
    """Warn of a cache for requests that are never answered from one."""
    methods, protocols = rule.match.method, rule.match.protocol
    if methods and {"GET", "HEAD"}.isdisjoint([methods] if isinstance(methods, str) else methods):
        report.warn(
            (*path, "match", "method"), "'cache' has no effect: it is for GET and HEAD, which 'method' leaves out"
        )
    if protocols and {"websocket"}.issuperset([protocols] if isinstance(protocols, str) else protocols):
        report.warn((*path, "match", "protocol"), "'cache' has no effect: WebSockets are not stored")


def _identity(document: Document, rule: ProxyRule, cache: ResponseCache, inner: ProxyHandler) -> str:
    """Return what decides the responses of a rule and who may get them: a rule that changes in it begins anew.

    Values of variables and files are in no `repr`, so a change of any begins all anew.
    """
    upstream = inner.proxy.upstream
    targets = [target.uri for target in upstream.targets]
    values = document.expander.digest() if document.expander else ""
    own = f"{replace(rule, cache=False)!r} {upstream.name} {targets} {cache.key} {cache.cookies} {cache.default_ttl!r}"
    return f"{own} {values}" if values else own


def _compile_key(compilation: Compilation, place: Path, cache: ResponseCache) -> Template | None:
    if cache.key is None:
        return None
    report = compilation.report
    try:
        template = compile_template(cache.key, MAPS.of(compilation))
    except ValueError as error:
        report.error(place, str(error))
        return None
    names = variable_names(cache.key)
    if "upstream" in names:
        report.error(place, "'key': $upstream is empty: it is the target, which is chosen after a look into the cache")
    if names.isdisjoint({"path", "request_uri"}):
        report.error(place, f"'key': {clip(cache.key)} does not hold $request_uri: all paths would share one response")
        return None
    if "authority" not in names:
        report.warn(
            place,
            "'key' does not hold $authority: one response is shared by all hosts and ports, and whoever asks first "
            "chooses the host that the upstream sees",
        )
    if names.isdisjoint({"request_uri", "query"}):
        report.warn(place, "'key' does not hold $request_uri or $query: one response is shared by all queries")
    return template


def _store(compilation: Compilation, place: Path, cache: ResponseCache) -> CacheStore | None:
    directory = directory_of(compilation.document, cache, compilation.context.row.board.cells_seed)
    known = _DIRECTORIES.of(compilation)
    first = known.get(directory)
    if first is not None:
        for limit in _LIMITS:
            if getattr(first[1], limit) != getattr(cache, limit):
                has_own = cache.directory is not None
                where = f"the same directory {clip(cache.directory or '')}" if has_own else "no directory either"
                compilation.report.error(
                    place,
                    f"{limit!r} differs from that of {rule_key(first[0])}, which has {where}, and so the same store; "
                    "give both the same, or each its own 'directory'",
                )
                return None
        return first[2]
    if cache.directory is not None and (fault := _directory_fault(directory, cache.directory)):
        compilation.report.error((*place, "directory"), f"'directory': {fault}")
        return None
    stores = _STORES.of(compilation.context)
    limits = directory, int(cache.max_size), cache.max_entries, cache.max_variants, int(cache.worker_memory)
    store = stores.get(limits)
    if store is None:
        store = stores[limits] = CacheStore(
            directory,
            compilation.context.row,
            max_bytes=limits[1],
            max_entries=limits[2],
            max_variants=limits[3],
            memory_bytes=limits[4],
        )
    known[directory] = place, cache, store
    is_memory = cache.directory is None
    compilation.services.append(CacheService(store, compilation.context, rule_key(place), is_memory=is_memory))
    return store


def _directory_fault(directory: str, name: str) -> str:
    """Return why a directory cannot be used, or should not be; "" if it can. `name`: as it stands in the config."""
    if not os.path.isdir(directory):
        return f"{clip(name)} is not a directory; make it first, owned by the server's user"
    if os.stat(directory).st_mode & 0o022:
        return f"others can write to {clip(name)}, so it is not used: `chmod 700` it"
    try:
        stranger = find_stranger(directory)
    except OSError:  # it belongs to the server's user, who is another one than that of `check`
        return ""
    if stranger is not None:
        return f"{clip(name)} is not empty: it has {clip(stranger)}; name a directory that only the cache uses"
    return ""
