"""What updates have made of a zone, beside its own records; its size, its digest and its last changes.

Covers `dns.zone.digest`, `nameserver.zones.changing_zone` and `nameserver.zones.history`.
"""

from __future__ import annotations

import random

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.record import parse_data
from npserver.dns.zone.content import Content, ZoneChange, apply, content_size, differences
from npserver.dns.zone.digest import changed_digest, content_digest
from npserver.nameserver.zones.changing_zone import newer
from npserver.nameserver.zones.history import ZoneHistory
from npserver.nameserver.zones.overlay import Entry, Overlay, changed_sets, entries_of

APEX = parse_owner("example.com")
NAMES = [parse_owner(f"h{number}.example.com") for number in range(6)]


def soa(serial: int, minimum: int = 60) -> dict[int, tuple[int, tuple[bytes, ...]]]:
    return {codes.SOA: (300, (parse_data(codes.SOA, f"ns.example.com h.example.com {serial} 1 1 1 {minimum}"),))}


def content_of(chance: random.Random, serial: int) -> Content:
    made: Content = {APEX: soa(serial)}
    for name in NAMES:
        sets = {
            rtype: (60, tuple(chance.sample((b"\1a", b"\1b", b"\1c"), chance.randint(1, 3))))
            for rtype in (codes.TXT, codes.HINFO)
            if chance.random() < 0.5
        }
        if sets:
            made[name] = sets
    return made


def test_an_overlay_makes_the_content_of_the_base_again() -> None:
    """Whatever changes led there; with sizes, digests and histories that are those of the whole."""
    chance = random.Random(3)
    base = content_of(chance, 1)
    content, overlay, digest, history = base, Overlay(), content_digest(base, APEX), ZoneHistory()
    seen = 0
    for serial in range(2, 200):
        fresh, changing = content_of(chance, serial), chance.sample(NAMES, chance.choice((1, 1, 1, 6)))
        after = {name: sets for name, sets in content.items() if name not in changing}
        after |= {name: fresh[name] for name in (APEX, *changing) if name in fresh}
        names = {name: after.get(name, {}) for name in content.keys() | after.keys()}
        changes = changed_sets(content, names)
        assert set(changes) == set(differences(content, after))
        entries = entries_of(base, APEX, changes)
        grown = overlay.growth(entries)
        before = overlay.size
        overlay.take(entries)
        assert overlay.size == before + grown
        assert overlay.size == sum(Entry(*place, True, records).size for place, records in overlay.sets.items())
        digest, content = changed_digest(digest, APEX, changes), after
        history.add(ZoneChange(serial - 1, serial, changes), content)
        assert sum(one.size for one in history.changes) <= content_size(content)
        seen = max(seen, len(history.changes))
        assert digest == content_digest(content, APEX)
        served = {**apply(base, overlay.changes()), APEX: content[APEX]}
        assert differences(served, content) == ()
    assert seen > 1
    back = changed_sets(content, {name: base.get(name, {}) for name in content.keys() | base.keys()})
    overlay.take(entries_of(base, APEX, back))
    assert (overlay.sets, overlay.size) == ({}, 0)


def test_the_digest_is_that_of_the_records() -> None:
    one = {APEX: soa(1), NAMES[0]: {codes.TXT: (60, (b"\1a", b"\1b"))}}
    assert content_digest({APEX: soa(9), NAMES[0]: {codes.TXT: (60, (b"\1b", b"\1a"))}}, APEX) == content_digest(
        one, APEX
    )
    assert content_digest({APEX: soa(1, minimum=61), NAMES[0]: one[NAMES[0]]}, APEX) != content_digest(one, APEX)
    assert content_digest({**one, NAMES[0]: {codes.TXT: (61, (b"\1a", b"\1b"))}}, APEX) != content_digest(one, APEX)


def test_an_soa_is_kept_if_more_than_its_serial_changes() -> None:
    base: Content = {APEX: soa(1)}
    (serial,) = entries_of(base, APEX, changed_sets(base, {APEX: soa(2)}))
    (more,) = entries_of(base, APEX, changed_sets(base, {APEX: soa(2, minimum=90)}))
    assert (serial.stays, more.stays) == (False, True)


def test_the_newer_of_two_serials_counts() -> None:
    old, new = (0xFFFFFFF0, b"x"), (3, b"y")
    assert newer(old, new) == newer(new, old) == new
    assert (newer(None, old), newer(old, None), newer(None, None)) == (old, old, None)


def test_names_of_very_many_labels_count_for_those_above_them() -> None:
    """They make names above them exist, which take memory in all processes: 16 MiB are not many gigabytes."""
    records = (60, (b"\n\0\0\1",))
    usual = Entry(parse_owner("a-name-that-is-not-short.of.a.client.dyn.example.com"), codes.A, True, records)
    assert usual.size < 100
    reverse = Entry(parse_owner("1." * 32 + "ip6.arpa"), codes.PTR, True, records)
    assert 700 < reverse.size < 900
    deepest = Entry(parse_owner("a." * 120 + "example.com"), codes.A, True, records)
    assert deepest.size > 6000
