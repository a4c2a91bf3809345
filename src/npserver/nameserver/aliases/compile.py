"""Compiles ALIAS records: which names are asked for, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from npserver.dns.message.name import to_text
from npserver.dns.zone.aliases import names_outside
from npserver.nameserver.aliases.addresses import ADDRESSES, TOPIC, AliasAddresses, forget_aliases
from npserver.runtime.pubsub import Withdrawing

DEFAULT_STALE_S = 3600.0  # of `dns_alias_stale`

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Tables
    from npserver.nameserver.resolver.compile import Forwarding
    from npserver.runtime.compilation import Compilation


def compile_aliases(
    compilation: Compilation, tables: Sequence[Tables], forwarding: Forwarding | None
) -> AliasAddresses | None:
    """Return the addresses of the names that ALIAS records lead to; None without such records."""
    context = compilation.context
    if float(compilation.config.dns_alias_stale) != DEFAULT_STALE_S and not any(table.alias_sets for table in tables):
        compilation.report.warn(("dns_alias_stale",), "no effect: no name in 'dns' has an ALIAS record")
    outside = {name: one for table in tables for name, one in names_outside(table).items()}
    if not outside:
        if context.pubsub.latest.get(TOPIC):  # by a former config
            compilation.services.append(Withdrawing(context.pubsub, forget_aliases))
        return ADDRESSES.of(context) if any(table.alias_sets for table in tables) else None
    from npserver.nameserver.aliases.service import AliasService, ask_system, asking

    for name in ("found", "failed"):  # what the controller counts is shown by workers, who have to know of it
        context.row.slot(f"dns.aliases.{name}")
    names = {name: f"ALIAS of {to_text(one.node.key)}" for name, one in outside.items()}
    ask = ask_system if forwarding is None else asking(forwarding.client, forwarding.local)
    stale_s = float(compilation.config.dns_alias_stale)
    compilation.services.append(AliasService(context, names, ask, stale_s))
    return ADDRESSES.of(context)
