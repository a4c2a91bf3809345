"""Compiles `on_demand` sections: checks the keys, and makes the entry that workers and controller go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import key_of
from npserver.runtime.compilation import PerCompilation
from npserver.store.compile import STORE
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.entry import Entry
from npserver.tls.acme.on_demand.permission import parse_application
from npserver.tls.acme.reach import REACH
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.tls.acme.config import Acme
    from npserver.tls.acme.dns.places import Places
    from npserver.tls.acme.settings import AcmeSettings

_NO_ASK = (
    "'on_demand' needs 'ask', the URL of an application that decides for which names certificates are ordered: "
    "without it anyone could have them ordered for any name, and use up the limits of the CA"
)
_NO_CHALLENGE = (
    "no challenge can work on demand: there is neither an http listener on port 80 nor an https listener on port 443, "
    'and no zone of ours; if these ports are forwarded here, write "challenge": ["http"] or ["tls-alpn"]'
)


def compile_on_demand(
    compilation: Compilation,
    path: Path,
    acme: Acme,
    settings: tuple[AcmeSettings, ...],
    places: Callable[[str], Places],
) -> Entry | None:
    """Return the entry of the section at `path`, which is that of `acme`; None, with errors in the report, if it is
    wrong.

    `places` returns those of a name's TXT record.
    """
    report, limits, store = compilation.report, acme.on_demand, STORE.of(compilation)
    place = (*path, "on_demand")
    if limits is None or store is None:
        return None
    if not limits.ask:
        report.error(place, _NO_ASK)
        return None
    try:
        application = parse_application(limits.ask)
    except ValueError as error:
        report.error((*place, "ask"), f"'ask': {error}")
        return None
    if limits.ask_timeout >= limits.wait:
        report.warn(
            (*place, "wait"),
            f"'wait' of {limits.wait:g} s is over before 'ask_timeout' of {limits.ask_timeout:g} s is: an application "
            "that is slow to answer lets handshakes wait for nothing",
        )
    reach = REACH.of(compilation)
    can_dns = bool(acme.dns_alias or acme.dns_update or reach.zones.apexes)
    chosen = set(acme.challenge)
    if not (can_dns or chosen - {"dns"} if chosen else can_dns or reach.has_http or reach.has_tls):
        report.error(place, _NO_CHALLENGE)
        return None
    COUNTS.of(compilation.context)  # numbers its slots, in all processes alike
    files = CERTIFICATES.of(compilation.context).files
    files.add_store(store.files.directory, store.files.read)
    entry = Entry(
        key_of(place), limits, application, settings,
        kinds=lambda name: reach.kinds(name, acme.challenge, places(name)),
        places=places,
        store=store.files,
        is_public=acme.is_public,
    )  # fmt: skip
    ENTRIES.of(compilation)[entry.key] = entry
    return entry


#: The entries of a config, by their config keys.
ENTRIES: PerCompilation[dict[str, Entry]] = PerCompilation(lambda _: {})
