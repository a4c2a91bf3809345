"""Tables that are changed in place are the tables that would be compiled anew: every name, every type."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.record import parse_data
from npserver.dns.zone.changing import TableChanger
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.content import Content, differences
from npserver.dns.zone.lookup import find, look_up
from npserver.dns.zone.tables import Tables

APEX, CHILD = parse_owner("example.test"), parse_owner("own.b.example.test")
SOA = parse_data(codes.SOA, "ns.example.test host.example.test 7 3600 600 604800 300")
NAMES = [
    parse_owner(f"{label}.example.test")
    for label in ("a", "b", "x.a", "y.x.a", "*.a", "*.x.a", "c.d.e", "*", "b.x.a", "below.own.b")
]
ASKED = [*NAMES, *(parse_owner(f"{label}.example.test") for label in ("d.e", "e", "q.a", "q.q", "own.b", "z.own.b"))]
DATA = {
    codes.A: [b"\1\1\1\1", b"\2\2\2\2"],
    codes.TXT: [b"\1x"],
    codes.NS: [b"\2ns\7example\4test\0", b"\1x\1a\7example\4test\0"],
    codes.CNAME: [NAMES[0]],
    codes.DNAME: [NAMES[1]],
}


def contents() -> st.SearchStrategy[Content]:
    def sets(types: list[int]) -> dict[int, tuple[int, tuple[bytes, ...]]]:
        if codes.CNAME in types:
            types = [codes.CNAME]
        return {rtype: (300, tuple(DATA[rtype])) for rtype in types}

    of_name = st.lists(st.sampled_from(list(DATA)), min_size=1, unique=True).map(sets)
    return st.dictionaries(st.sampled_from(NAMES[:-1]), of_name).map(
        lambda found: {APEX: {codes.SOA: (300, (SOA,)), codes.NS: (300, (DATA[codes.NS][0],))}, **found}
    )


def compiled(content: Content, *, has_child: bool) -> Tables:
    zones = [APEX, CHILD] if has_child else [APEX]
    own = {"x.own.b.example.test": {"A": "10.0.0.1"}} if has_child else {}
    return compile_tables(own, Settings(300, zones, contents={APEX: content}), lambda path, message: None)


def answers(tables: Tables) -> dict[tuple[bytes, int], object]:
    found: dict[tuple[bytes, int], object] = {}
    for name in (APEX, *ASKED):
        status, node = find(tables, name)
        found[name, 0] = status, node and node.key, node and node.zone.key
        for rtype in (*DATA, codes.SOA, codes.DS, codes.ANY):
            sections = look_up(tables, name, rtype)
            if sections is not None and rtype == codes.ANY:
                sections.answer.sort(key=lambda one: one.rtype)
            found[name, rtype] = sections
    return found


@given(contents(), contents(), contents(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_tables_are_as_if_they_were_compiled_anew(one: Content, two: Content, three: Content, has_child: bool) -> None:
    tables = compiled(one, has_child=has_child)
    changer = TableChanger(tables)
    for before, after in ((one, two), (two, three)):
        changer.apply(APEX, differences(before, after), after)
        anew = compiled(after, has_child=has_child)
        assert answers(tables) == answers(anew)
        assert tables.nodes.keys() == anew.nodes.keys()


def test_the_serial_of_answers_is_that_of_the_change() -> None:
    content: Content = {APEX: {codes.SOA: (300, (SOA,))}}
    tables = compiled(content, has_child=False)
    newer = SOA[:-20] + (9).to_bytes(4, "big") + SOA[-16:]
    after: Content = {APEX: {codes.SOA: (300, (newer,))}}
    TableChanger(tables).apply(APEX, differences(content, after), after)
    sections = look_up(tables, NAMES[0], codes.A)
    assert sections is not None
    assert sections.authority[0].data == (newer,)
