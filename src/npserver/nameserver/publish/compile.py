"""Compiles `publish` of rules: which names are made, of what, and the state that the zones are built of at the start.

`program.compile` calls `prepare` once the listeners have their certificates; `nameserver.compile` builds the zones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.config.networks import compile_networks
from npserver.errors import StoreError
from npserver.nameserver.publish.addresses import AddressSources, compile_sources
from npserver.nameserver.publish.checks import check_records
from npserver.nameserver.publish.hosts import NameMaker, hosts_of_rule
from npserver.nameserver.publish.plan import Plan, View, within
from npserver.nameserver.publish.publication import PUBLICATION
from npserver.nameserver.publish.serials import serials_of, set_serials
from npserver.nameserver.publish.state import STATE, STORE_KEY, Published, decode
from npserver.nameserver.publish.zones import BuiltZones, CompileViews, Publication
from npserver.nameserver.zones.compile import ZONES
from npserver.networks import is_ip_address, parse_network
from npserver.runtime.compilation import PerCompilation
from npserver.runtime.public_addresses import INTERFACE
from npserver.store.compile import PATH as STORE_PATH
from npserver.store.compile import STORE
from npserver.store.directory import DirectoryStore, finish
from npserver.tls.local_names import LOOPBACKS, PRIVATE_NETWORKS

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import Rule

MAX_TTL_S = 300  # of records that may change at any time

_SOURCES: PerCompilation[AddressSources] = PerCompilation(lambda compilation: compile_sources(compilation.report))


def prepare(
    compilation: Compilation, listeners: Iterable[Listener], rules: Mapping[str, list[tuple[int, Rule]]]
) -> None:
    """Find out what the rules publish. `rules`: those of each listener, by its key, with their index in `dispatch`."""
    config, report = compilation.config, compilation.report
    by_rule: dict[int, list[Listener]] = {}
    name_servers: list[Listener] = []
    for listener in listeners:
        for index, rule in rules[listener.key]:
            by_rule.setdefault(index, []).append(listener)
            if getattr(type(rule), "uses_dns_ports", False):
                name_servers.append(listener)
    maker = NameMaker(compilation)
    for index, rule in enumerate(config.dispatch):
        if getattr(rule, "publish", False):
            for path, text in hosts_of_rule(report, index, rule):
                maker.add(path, text, rule, by_rule.get(index, []))
    names = maker.names()
    if names and not name_servers:
        report.error(
            maker.paths[names[0].key],
            "'publish' needs a name server: add a rule with handler 'dns', and a udp and a tcp listener for it",
        )
    sources = _SOURCES.of(compilation)
    if not names:
        return
    plan = Plan(tuple(names), tuple(_views(compilation, name_servers)), min(config.dns_ttl, MAX_TTL_S))
    sources = replace(sources, needs_private=plan.needs_machine_addresses())
    _SOURCES.put(compilation, sources)
    publication = Publication(plan, config, ZONES.of(compilation))
    PUBLICATION.put(compilation, publication)
    maker.check_certificates()
    store = STORE.of(compilation)
    if store is not None:
        from npserver.nameserver.publish.service import PublishingService

        compilation.services.append(PublishingService(compilation.context, store, publication, sources))
    _PATHS.put(compilation, maker.paths)


def build_published(
    compilation: Compilation, publication: Publication, compile_anew: CompileViews
) -> tuple[Published, BuiltZones]:
    """Return the state that is known at present, and the zones built of it; what is wrong is reported.

    Zones whose content has changed have their serials from the controller, a moment later.
    """
    document, context = compilation.document, compilation.context
    shared: tuple[Published, BuiltZones] | None = document.compiled.get("published")
    told = STATE.of(context).value
    if shared is None or (told is not None and not told.has_addresses_of(shared[0])):
        sources = _SOURCES.of(compilation)
        known = told if told is not None else _stored(compilation)
        state = replace(known, **sources.look(known, context.wall_clock()))
        built = publication.build(state, {}, compile_anew)
        check_records(
            compilation.report,
            publication.plan,
            sources,
            state,
            built.tables,
            _PATHS.of(compilation),
            ZONES.of(compilation),
        )
        shared = document.compiled["published"] = state, built
        document.compiled["dns"] = built.tables
        document.compiled["publishes"] = publication.describe(built.tables, will_ask=bool(sources.urls))
    state, built = shared
    if told is not None and state != told:  # made before the controller told of the serials
        numbers = serials_of(built.digests, told.serials, {})
        set_serials(built.tables, numbers)
        state, built = replace(state, serials=told.serials), replace(built, numbers=numbers)
    publication.known = state, built.digests, built.given
    return state, built


def _stored(compilation: Compilation) -> Published:
    store = STORE.of(compilation)
    if store is None:
        return Published()
    try:
        return decode(finish(DirectoryStore(store.files, in_threads=False).get(STORE_KEY)))
    except StoreError as error:
        compilation.report.warn(STORE_PATH, f"published addresses of the last run are not known: {error}")
        return Published()


def _views(compilation: Compilation, name_servers: list[Listener]) -> Iterable[View]:
    """Yield the views of the config, then that of all other clients."""
    config = compilation.config
    for index, view in enumerate(config.dns_views):
        compiled = compile_networks(compilation.report, ("dns_views", index, "from"), view.from_)
        networks = compiled.networks if compiled is not None else ()
        yield View(
            networks,
            is_private=bool(networks) and all(within(one, (*PRIVATE_NETWORKS, *LOOPBACKS)) for one in networks),
            is_loopback=bool(networks) and all(within(one, LOOPBACKS) for one in networks),
            name=view.from_ if isinstance(view.from_, str) else ", ".join(view.from_),
        )
    asked_at = [listener.address.host for listener in name_servers if not listener.address.is_unix]
    is_bound = bool(asked_at) and not any(listener.address.is_wildcard for listener in name_servers)
    near = tuple([parse_network(host) for host in asked_at if is_ip_address(host)]) if is_bound else ()
    yield View(
        tuple([one for one in near if within(one, PRIVATE_NETWORKS)]),
        is_private=(
            config.public_address == INTERFACE
            and bool(near)
            and len(near) == len(asked_at)
            and all(within(one, (*PRIVATE_NETWORKS, *LOOPBACKS)) for one in near)
        ),
    )


#: Where the names stand in the config.
_PATHS: PerCompilation[dict[bytes, tuple[str | int, ...]]] = PerCompilation(lambda _: {})
