"""Compiles the entries of `networks` that come from data. Called by `program.compile` before all other compilers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.errors import StoreError, clip
from npserver.network_sets.config import NetworkSource
from npserver.network_sets.learning import compile_learnt
from npserver.network_sets.service import NetworkService
from npserver.network_sets.sets import SETS, DataSet
from npserver.network_sets.source import NetworksSource, parse_database, parse_list
from npserver.network_sets.states import forgetting
from npserver.network_sets.stored import decode
from npserver.sources.compile import check_refresh, check_url
from npserver.sources.source import SUPPLIED, DataError, read_file
from npserver.store.compile import STORE
from npserver.store.interface import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation

MAX_DATABASE_BYTES = 32 << 20
_KINDS = ("file", "url", "mmdb", "learn")
_ONLY_WITH = {
    "country": "mmdb",
    "continent": "mmdb",
    "asn": "mmdb",
    "refresh": "url",
    "timeout": "url",
    "for_": "learn",
    "except_": "learn",
    "doubling": "learn",
    "max_bans": "learn",
}
_NOT_OF_LEARNT = {"max_size": "a list or a database", "max_networks": "a list"}


def compile_network_sets(compilation: Compilation) -> None:
    """Make the sets of the config, with what is known of them now, and the service that keeps them up to date."""
    report = compilation.report
    made: list[DataSet] = []
    for name, entry in compilation.config.networks.items():
        if isinstance(entry, NetworkSource) and entry.url is not None:
            STORE.of(compilation)  # used, also if something else is wrong
        if isinstance(entry, NetworkSource) and (source := _source(report, ("networks", name), entry)) is not None:
            found = SETS.of(compilation.context).find(name, source)
            report.network_sets[name] = found
            made.append(found)
            if source.kind == "url":
                _take_stored(compilation, found)
            elif not found.at:
                _read(compilation, ("networks", name, source.kind), found)
    learnt = compile_learnt(compilation)
    pubsub = compilation.context.pubsub
    compilation.services += forgetting(pubsub, has_sets=bool(made), has_learnt=bool(learnt))
    if made:
        needs_store = any(one.source.kind == "url" for one in made)
        store = STORE.of(compilation) if needs_store else None
        compilation.services.append(NetworkService(compilation.context, store, made))


def _source(report: Report, path: Path, entry: NetworkSource) -> NetworksSource | None:
    """Return where the networks come from; None with errors in the report."""
    given = [kind for kind in _KINDS if getattr(entry, kind) is not None]
    if len(given) != 1:
        report.error(
            path, "expected one of 'file', 'url', 'mmdb' and 'learn'" + f", got {' and '.join(given)}" * bool(given)
        )
        return None
    (kind,) = given
    before = len(report.problems)
    default = NetworkSource()
    for key, wanted in _ONLY_WITH.items():
        if kind != wanted and getattr(entry, key) != getattr(default, key):
            shown = key.rstrip("_")
            report.error((*path, shown), f"{shown!r} has no effect with {kind!r}: it belongs to {wanted!r}")
    for key, owner in _NOT_OF_LEARNT.items():
        if kind == "learn" and getattr(entry, key) != getattr(default, key):
            report.error((*path, key), f"{key!r} has no effect with 'learn': it belongs to {owner}; see 'max_bans'")
    most = MAX_DATABASE_BYTES if kind == "mmdb" else MAX_VALUE_BYTES
    if kind == "url":
        url = entry.url or ""
        check_url(report, (*path, "url"), url)
        is_local = url.startswith("http://127.")
        check_refresh(report, (*path, "refresh"), float(entry.refresh), is_local=is_local)
        if entry.max_size is not None and entry.max_size > MAX_VALUE_BYTES:
            report.error((*path, "max_size"), f"the store keeps {MAX_VALUE_BYTES} bytes of a list at most")
    if kind == "mmdb":
        _check_choice(report, path, entry)
    if len(report.problems) > before and any(one.severity.name == "ERROR" for one in report.problems[before:]):
        return None
    if kind == "learn":
        return None  # `network_sets.learning` makes it
    place = str(getattr(entry, kind))
    return NetworksSource(
        kind=kind,
        place=place if kind == "url" else os.path.abspath(os.path.join(report.document.directory, place)),
        max_bytes=most if entry.max_size is None else int(entry.max_size),
        max_networks=entry.max_networks,
        countries=frozenset(entry.country),
        continents=frozenset(entry.continent),
        asns=frozenset(entry.asn),
        refresh_s=float(entry.refresh),
        timeout_s=float(entry.timeout),
    )


def _check_choice(report: Report, path: Path, entry: NetworkSource) -> None:
    try:
        import maxminddb  # noqa: F401
    except ImportError:
        report.error((*path, "mmdb"), "'mmdb' needs the Python package maxminddb: pip install maxminddb")
    if not (entry.country or entry.continent or entry.asn):
        report.error((*path, "mmdb"), "'mmdb' needs 'country', 'continent' or 'asn': what to choose from the database")
    for index, number in enumerate(entry.asn):
        if not 0 < number < 2**32:
            report.error((*path, "asn", index), f"expected the number of an autonomous system, got {number}")
    for key in ("country", "continent"):
        for index, code in enumerate(getattr(entry, key)):
            if len(code) != 2 or not (code.isascii() and code.isalpha() and code.isupper()):
                report.error(
                    (*path, key, index), f"expected two capital letters such as {_EXAMPLES[key]}, got {clip(code)}"
                )
            elif key == "country" and (usual := _NO_COUNTRIES.get(code)):
                report.warn((*path, key, index), f"{code} is no country of ISO 3166, did you mean {usual!r}?")


_NO_COUNTRIES = {"UK": "GB", "EN": "GB", "EL": "GR"}
_EXAMPLES = {"country": '"DE"', "continent": '"EU"'}


def _read(compilation: Compilation, path: Path, found: DataSet) -> None:
    """Read a file for the first time. It must be good, unless the controller has told of it before.

    The master reads it for all children: one that starts later has the same, whatever the file holds by then.
    """
    source = found.source
    key = f"networks:{source.digest}:{source.max_bytes}"
    read = compilation.document.compiled
    try:
        if key not in read:
            files = SUPPLIED.of(compilation.context)
            if source.kind == "file" and files is not None:
                files.used.add(source.place)  # a database is too large to be supplied
            read[key] = read_file(source, files)
        stamp, data = read[key]
        if source.kind == "mmdb":
            found.use_database(parse_database(found.databases, data, source), stamp.modified_at)
        else:
            found.use_list(parse_list(data, source), stamp.modified_at)
    except DataError as error:
        if compilation.context.pubsub.latest.get(source.topic) is None:
            compilation.report.error(path, str(error))


def _take_stored(compilation: Compilation, found: DataSet) -> None:
    """Use the last good list of a URL, which the store has."""
    store = STORE.of(compilation)
    if store is None or found.at:
        return
    try:
        stored = store.files.read(found.source.store_key)
    except StoreError as error:
        compilation.report.warn(("networks", found.name, "url"), f"the list of the last run is not known: {error}")
        return
    if stored is not None and (kept := decode(stored, found.source)) is not None:
        found.use_list(*kept)
