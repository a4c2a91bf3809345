"""The record sets of published names, for the clients of one view. Pure.

They are added to the records of the config, which win, by `dns.zone.compile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from ipaddress import ip_address

from npserver.dns.message import codes
from npserver.dns.message.name import WILDCARD, parent
from npserver.dns.message.record import parse_data
from npserver.dns.zone.reverse import reverse_key
from npserver.dns.zone.tables import Node, RecordSet, RecordSets, ancestors
from npserver.nameserver.publish.choice import addresses_for
from npserver.nameserver.publish.plan import HTTPS_PORT, Plan, PublishedName, View
from npserver.nameserver.publish.state import Published

#: Record sets by name and type.
Records = dict[bytes, dict[int, RecordSet]]


def records_for(plan: Plan, view: View, state: Published, caa: Set[bytes], aliases: Set[bytes]) -> Records:
    """Return the record sets of all names; a name without addresses has an empty one.

    Args:
        caa: the names that have CAA records in the config, which decide for all names below them.
        aliases: the names that have a CNAME record in the config, for which nothing is made.
    """
    public = [ip_address(one.address) for one in state.public]
    private = [ip_address(one) for one in state.private]
    found: Records = {}
    for name in plan.names:
        if name.key in aliases:
            continue
        sets = found.setdefault(name.key, {})
        addresses = addresses_for(name, view, public, private)
        for rtype, version in ((codes.A, 4), (codes.AAAA, 6)):
            if data := tuple([one.packed for one in addresses if one.version == version]):
                sets[rtype] = (plan.ttl, data)
        if name.alpn:
            sets[codes.HTTPS] = (plan.ttl, (https_data(name),))
        if has_caa(name, caa):
            key, tag = caa_of(name)
            data = tuple([parse_data(codes.CAA, {"tag": tag, "value": one}) for one in name.certified_by])
            ttl, before = found.setdefault(key, {}).get(codes.CAA, (plan.ttl, ()))
            found[key][codes.CAA] = (ttl, tuple(dict.fromkeys((*before, *data))))
    return found


def https_data(name: PublishedName) -> bytes:
    """Return the data of a name's HTTPS record (RFC 9460 §9): what its listener offers by ALPN, and its port."""
    params: dict[str, object] = {"alpn": list(name.alpn)}
    if name.port != HTTPS_PORT:
        params["port"] = name.port
    return parse_data(codes.HTTPS, {"priority": 1, "target": ".", "params": params})


def caa_of(name: PublishedName) -> tuple[bytes, str]:
    """Return where a CA looks for the CAA records of a name first, and the tag that counts for it (RFC 8659 §3, §4)."""
    return (parent(name.key), "issuewild") if name.key.startswith(WILDCARD) else (name.key, "issue")


def has_caa(name: PublishedName, given: Set[bytes]) -> bool:
    """Return whether CAA records are made for a name; `given` are the names with such records in the config."""
    return bool(name.certified_by) and given.isdisjoint(ancestors(caa_of(name)[0]))


def show_reverse(name: PublishedName, nodes: Mapping[bytes, Node]) -> list[str]:
    """Return the PTR records that lead from the addresses of a name to it, as text."""
    sets = nodes[name.key].sets
    packed = [one for rtype in (codes.A, codes.AAAA) for one in sets.get(rtype, (0, ()))[1]]
    reverse = [(one, nodes.get(reverse_key(one))) for one in packed]
    return [
        f"PTR of {ip_address(one)}"
        for one, node in reverse
        if node is not None and name.key in node.sets.get(codes.PTR, (0, ()))[1]
    ]


def show_records(name: PublishedName, sets: RecordSets) -> list[str]:
    """Return the records of the types that are published, which the config may have given, as text."""
    parts = []
    for rtype in (codes.A, codes.AAAA):
        parts += [f"{codes.type_name(rtype)} {ip_address(one)}" for one in sets.get(rtype, (0, ()))[1]]
    if codes.HTTPS in sets:
        is_ours = name.alpn and sets[codes.HTTPS][1] == (https_data(name),)
        port = f" port={name.port}" if name.port != HTTPS_PORT else ""
        parts.append(f"HTTPS alpn={','.join(name.alpn)}{port}" if is_ours else "HTTPS of the config")
    return parts
