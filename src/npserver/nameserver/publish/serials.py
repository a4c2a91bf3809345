"""Serials of the zones with published names: they rise with each change of the content, over restarts too. Pure.

Secondaries transfer a zone when its serial has risen (RFC 1982). A zone without an SOA record of the config begins with
the time; one that has such a record keeps its serial until something changes. The serial is common to all views.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

from npserver.dns.message.name import to_text
from npserver.dns.zone.compile import content_sums
from npserver.dns.zone.tables import Tables
from npserver.nameserver.publish.state import Serial

FIRST = 1  # of a zone that the controller has not told of yet: every other one is larger


def digests(views: Sequence[Tables], keys: Collection[bytes]) -> dict[str, int]:
    """Return a digest of the content of each of these zones, over all views; to be taken before serials are set."""
    found = {to_text(key): 0 for key in keys}
    for index, tables in enumerate(views):
        sums = content_sums(tables)
        for key in keys & sums.keys():
            found[to_text(key)] += crc32(b"%d" % sums[key], index) << 32 | sums[key] & 0xFFFFFFFF
    return {name: digest & (1 << 63) - 1 for name, digest in found.items()}


def given_serials(views: Sequence[Tables], keys: Collection[bytes]) -> dict[str, int]:
    """Return the serials that the config gives to zones; the largest of several views."""
    found: dict[str, int] = {}
    for tables in views:
        for key in keys & tables.zones.keys():
            zone = tables.zones[key]
            if not zone.has_generated_soa:
                found[to_text(key)] = max(found.get(to_text(key), 0), zone.serial)
    return found


def next_serials(
    before: Mapping[str, Serial], content: Mapping[str, int], given: Mapping[str, int], now: float
) -> dict[str, Serial]:
    """Return the serials of zones with these digests, each above the one before if the content has changed."""
    found = {}
    for name, digest in content.items():
        known = before.get(name)
        if known is None:
            number = given.get(name) or int(now)
        else:
            number = max(known.number + (known.digest != digest), given.get(name, 0))
        found[name] = Serial(number & 0xFFFFFFFF or 1, digest)
    return found


def serials_of(content: Mapping[str, int], told: Mapping[str, Serial], current: Mapping[str, int]) -> dict[str, int]:
    """Return the serials that a process serves its content with.

    Args:
        told: by the controller. One that is for other content, of a config before or after a reload, is not used while
            there is another: content that is old never has the serial of newer one.
        current: those that the process serves with at present.
    """
    found = {}
    for name, digest in content.items():
        entry = told.get(name)
        if entry is not None and (entry.digest == digest or name not in current):
            found[name] = entry.number
        else:
            found[name] = current.get(name, FIRST)
    return found


def set_serials(views: Sequence[Tables], numbers: Mapping[str, int]) -> None:
    """Set the serials of the zones named."""
    for tables in views:
        for key, zone in tables.zones.items():
            number = numbers.get(to_text(key))
            if number is not None and number != zone.serial:
                zone.set_serial(number)
