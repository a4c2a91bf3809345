"""Reports what is wrong with published names once the zones are built: zones, records of the config, addresses, CAA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.zone.apexes import choose_apexes
from npserver.errors import clip
from npserver.nameserver.publish.plan import PublishedName
from npserver.networks import Networks
from npserver.tls.local_names import LOOPBACKS

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.dns.zone.tables import Tables
    from npserver.nameserver.publish.addresses import AddressSources
    from npserver.nameserver.publish.plan import Plan
    from npserver.nameserver.publish.state import Published
    from npserver.nameserver.zones.compile import Zones

MAX_SHOWN_ZONES = 5


def check_records(
    report: Report,
    plan: Plan,
    sources: AddressSources,
    state: Published,
    tables: Sequence[Tables],
    paths: Mapping[bytes, Path],
    zones: Zones,
) -> None:
    """Report what is wrong with each name."""
    for name in plan.names:
        path = paths[name.key]
        if (place := zones.place_of(name.key)) is not None:
            where = f"the records of its zone are in {place}: write those of the name there, without 'publish'"
            report.error(path, f"'publish': {clip(name.text)} cannot be published, as {where}")
            continue
        holders = [one for one in tables if name.key in one.nodes]
        if not holders:
            report.error(path, f"'publish': {clip(name.text)} is in none of our zones{_zones(tables, name)}")
            continue
        for one in holders:
            node = one.nodes[name.key]
            if node.cut is not None:
                owner = _plain(node.cut.key)
                is_elsewhere = f"lies below the DNAME of {owner}: remove it, or 'publish'"
                if node.cut.is_delegated:
                    is_elsewhere = (
                        f"is delegated by the NS records of {owner} to other name servers: remove them, or 'publish'"
                    )
                report.error(path, f"'publish': {clip(name.text)} {is_elsewhere}")
            elif codes.CNAME in node.sets:
                report.warn(path, f"'publish' makes nothing for {clip(name.text)}, which has a CNAME record in 'dns'")
        if not any(one.nodes[name.key].cut or codes.CNAME in one.nodes[name.key].sets for one in holders):
            _check_addresses(report, path, plan, sources, name, tables)


def _check_addresses(
    report: Report, path: Path, plan: Plan, sources: AddressSources, name: PublishedName, tables: Sequence[Tables]
) -> None:
    """Report views in which a name has no address, if it could have one."""
    found = [_address_types(name, one) for one in tables]
    public = [not (view.is_private or name.is_local) for view in plan.views]
    views = [*zip(plan.views, found, public, strict=True)]
    lacking = [view for view, types, _ in views if types == set()]
    here = Networks(LOOPBACKS)
    is_hidden = all(host in here for host in name.hosts)
    if not is_hidden and (sources.urls or sources.is_nothing):  # they will be asked for, or are not wanted
        lacking = [view for view, types, is_public in views if types == set() and not is_public]
    for view in lacking:
        of = f"the clients of {view.name}" if view.name else "all other clients" if len(tables) > 1 else "clients"
        reason = 'this machine has no private address that they can reach: write an A or AAAA record into "dns"'
        if is_hidden:
            reason = f"its listeners are bound to this machine ({', '.join(name.hosts)}): listen on another address"
        elif not (view.is_private or name.is_local):
            reason = 'no public address leads to its listeners: write "public_address", or [] if there is none'
        severe = report.error if is_hidden else report.check_error
        say = severe if len(lacking) == len(tables) else report.warn
        say(path, f"'publish': no address of {clip(name.text)} is known for {of}: {reason}")
    is_on_ipv4 = any(":" not in host for host in name.hosts)
    if sources.lacks_ipv4 and is_on_ipv4 and any(types == {codes.AAAA} for _, types, is_public in views if is_public):
        report.warn(
            path,
            f"'publish': clients without IPv6 cannot reach {clip(name.text)}: no interface has a public IPv4 address; "
            'write it into "public_address", or have it asked for',
        )


def _address_types(name: PublishedName, tables: Tables) -> set[int] | None:
    """Return which of A and AAAA a name has in a view; None if it is not in the view, or has others' addresses."""
    node = tables.nodes.get(name.key)
    changing = [*[one.node for one in tables.upstream_sets], *[one.node for one in tables.alias_sets]]
    if node is None or node in changing:
        return None
    return {codes.A, codes.AAAA} & node.sets.keys()


def _zones(tables: Sequence[Tables], name: PublishedName) -> str:
    """Return which zones there are, and what to write."""
    keys = dict.fromkeys([key for one in tables for key in one.zones])
    shown = [_plain(key) for key in keys if not key.endswith(b"\x04arpa\0")]
    more = f" and {len(shown) - MAX_SHOWN_ZONES} more" if len(shown) > MAX_SHOWN_ZONES else ""
    apexes, _ = choose_apexes((), {name.key: {}}, ())
    remedy = f'write "dns_zones": ["{_plain(next(iter(apexes)))}"] if that domain is delegated to npserver'
    return f" ({', '.join(shown[:MAX_SHOWN_ZONES])}{more}): {remedy}" if shown else f": {remedy}"


def _plain(key: bytes) -> str:
    return to_text(key).removesuffix(".")
