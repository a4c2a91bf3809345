"""Compiles networks that learn (`learn`), and the hooks by which other parts tell of events.

A part asks for the hook of an event while it is compiled: `LEARNING.of(compilation).hook("login")`, None if no network
learns from it. So what nobody learns from costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.networks import compile_networks
from npserver.errors import StoreError, clip
from npserver.guess import get_close_matches
from npserver.limits.rate import Rate, parse_rate
from npserver.network_sets.ban_service import BanService, decode_bans, store_key
from npserver.network_sets.bans import LearntSet, learnt_set
from npserver.network_sets.config import NetworkSource
from npserver.network_sets.events import EVENTS, LEARNING
from npserver.store.compile import STORE

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.networks import AddressSet
    from npserver.runtime.compilation import Compilation

DEFAULT_WITHIN = "10m"


def compile_learnt(compilation: Compilation) -> list[LearntSet]:
    """Make the networks that learn, with the bans that are known, and the service that decides."""
    report, entries = compilation.report, compilation.config.networks
    made: list[tuple[LearntSet, NetworkSource, dict[str, Rate]]] = []
    for name, entry in entries.items():
        if isinstance(entry, NetworkSource) and entry.learn is not None:
            rates = _rates(compilation, ("networks", name), entry.learn)
            found = learnt_set(compilation.context, name)
            report.network_sets[name] = found
            made.append((found, entry, rates))
    for found, entry, rates in made:
        excepted = _excepted(compilation, found.name, entry)
        _take_stored(compilation, found)
        LEARNING.of(compilation).add(found.notice, rates)
        report.unused_learnt.add(found.name)
        settings = {"for_s": float(entry.for_), "doubling": entry.doubling, "max_bans": entry.max_bans}
        compilation.activations.append(
            lambda found=found, rates=rates, excepted=excepted, settings=settings: found.configure(  # type: ignore[misc]
                rates, excepted, **settings
            )
        )
    sets = [found for found, _, _ in made]
    if sets:
        compilation.services.append(BanService(compilation.context, STORE.of(compilation), sets))
    return sets


def check_events(compilation: Compilation) -> None:
    """Report events that cannot happen with this config. Called when all else is compiled."""
    unheard = LEARNING.of(compilation).unheard
    for name, entry in compilation.config.networks.items():
        for event in entry.learn or () if isinstance(entry, NetworkSource) else ():
            if event in unheard:
                place = ("networks", name, "learn", event)
                compilation.report.warn(place, f"{event!r} cannot happen here: it takes {EVENTS[event]}")


def _rates(compilation: Compilation, path: Path, learn: dict[str, str | int]) -> dict[str, Rate]:
    report, found = compilation.report, {}
    if not learn:
        report.error((*path, "learn"), f"'learn' is empty: name one of the events {', '.join(EVENTS)}")
    for event, value in learn.items():
        place = (*path, "learn", event)
        if event not in EVENTS:
            close = get_close_matches(event, list(EVENTS), 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the events are {', '.join(EVENTS)}"
            report.error(place, f"unknown event {clip(event)}, {hint}")
            continue
        try:
            text = str(value)
            rate = parse_rate(f"{text}/{DEFAULT_WITHIN}" if text.strip().isdigit() and text.strip() != "0" else text)
        except ValueError:
            message = f'expected how many it takes, such as 5 (in 10 minutes) or "20/1m", got {clip(str(value))}'
            report.error(place, message)
            continue
        if rate is None:
            report.error(place, f"{clip(str(value))} bans nobody: leave out {event!r}, or write 1 or more")
        else:
            found[event] = rate
    return found


def _excepted(compilation: Compilation, name: str, entry: NetworkSource) -> tuple[AddressSet, ...]:
    config, path = compilation.config, ("networks", name, "except")
    for one in [entry.except_] if isinstance(entry.except_, str) else entry.except_:
        source = config.networks.get(one)
        if isinstance(source, NetworkSource) and source.learn is not None:
            compilation.report.error(path, f"{clip(one)} learns itself: 'except' takes networks that are known")
            return ()
    for one in [config.trusted_proxies] if isinstance(config.trusted_proxies, str) else config.trusted_proxies:
        source = config.networks.get(one)
        if isinstance(source, NetworkSource) and source.learn is not None:
            compilation.report.error(("trusted_proxies",), f"{clip(one)} learns whom to ban: nobody in it is trusted")
            return ()
    excepted = compile_networks(compilation.report, path, entry.except_)
    trusted = compile_networks(compilation.report, ("trusted_proxies",), config.trusted_proxies)
    return tuple(one for one in (excepted, trusted) if one is not None)


def _take_stored(compilation: Compilation, found: LearntSet) -> None:
    """Put the bans in force that the store has from the last run."""
    store = STORE.of(compilation)
    if store is None or found.is_loaded:
        return
    found.is_loaded = True
    path = ("networks", found.name)
    try:
        stored = store.files.read(store_key(found.name))
    except StoreError as error:
        compilation.report.warn(path, f"the bans of the last run are not known: {error}")
        return
    if stored is None:
        return
    bans = decode_bans(stored)
    if bans is None:
        file = store.files.path(store_key(found.name))
        compilation.report.warn(path, f"the bans of the last run are not known: {file} is damaged; it is written anew")
        return
    found.banned.by_client = {one.client: one for one in bans}
