"""Block lists in all forms: what they say of names, and what is left out or refused."""

from __future__ import annotations

import time
from array import array

import pytest

from npserver.dns.zone.public_suffix import is_registry
from npserver.nameserver.blocking.list_format import MAX_LINE_BYTES, Action, Extent, Kind, ListReader, name_hash

Found = dict[Kind, set[str]]
SELF, TREE, BELOW = Extent.SELF, Extent.TREE, Extent.BELOW
BLOCK, EXCEPT = Action.BLOCK, Action.EXCEPT


def read(text: str | bytes, max_names: int = 1000) -> ListReader:
    reader = ListReader(max_names, is_registry)
    reader.read(text.encode() if isinstance(text, str) else text)
    return reader


def says(reader: ListReader, kind: Kind, names: list[str]) -> bool:
    """Whether a list has these names of a kind, and no others."""
    found = reader.hashes.get(kind, array("q"))
    return sorted(found) == sorted(name_hash(one.encode()) for one in names)


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("0.0.0.0 a.example\n127.0.0.1\tb.example # ads\r\n:: c.example\n::1  d.example", (BLOCK, SELF), "abcd"),
        ("0.0.0.0 a.example b.example  c.example\n", (BLOCK, SELF), "abc"),
        ("0.0.0.0 a.example#why\n0.0.0.0 b.example c.example #why\n# 0.0.0.0 d.example", (BLOCK, SELF), "abc"),
        ("127.0.0.53 a.example\n0:0:0:0:0:0:0:0 b.example\n0.0.0.0 C.EXAMPLE.\n", (BLOCK, SELF), "abc"),
        (
            "127.0.0.1 localhost\n::1 ip6-loopback\nfe80::1%lo0 localhost\n0.0.0.0 0.0.0.0\n0.0.0.0 a.example",
            (0, 0),
            "a",
        ),
        ("a.example\nB.Example\r\n*.c.example\n.d.example\ne.example. # why", (BLOCK, TREE), "abcde"),
        ("[Adblock Plus 2.0]\n! t\n||a.example^\n||b.example^$important\n||c.example^|\n", (BLOCK, TREE), "abc"),
        ("||b.example^\n@@||a.example^\n@@||c.example^|\n", (EXCEPT, TREE), "ac"),
        (
            "$TTL 1h\n@ IN SOA a. b. (1\n 2 3\n 4 5)\n  NS a.\na.example CNAME .\nb.example 60 IN cname .\n",
            (1, SELF),
            "ab",
        ),
        ("*.a.example CNAME .\n*.b.example\tIN\tCNAME\t.\nc.example CNAME .", (Action.NXDOMAIN, BELOW), "ab"),
        ("a.example CNAME *.\nb.example CNAME . ; c\nc.example CNAME *. ; d\n", (Action.NODATA, SELF), "ac"),
        ("a.example CNAME rpz-passthru.\n*.b.example CNAME rpz-drop.", (Action.PASS, SELF), "a"),
        ("a.example CNAME rpz-passthru.\n*.b.example CNAME rpz-drop.", (Action.REFUSE, BELOW), "b"),
        ("rpz.home. SOA a. b. 1 2 3 4 5\na.example.rpz.home. IN CNAME .\nb.example CNAME .", (1, SELF), "ab"),
        ("$ORIGIN rpz.home.\n@ SOA a. b. 1 2 3 4 5\na.example.rpz.home. CNAME .\n    60 CNAME .", (1, SELF), "aa"),
        ("\ufeffa.example\n", (BLOCK, TREE), "a"),
    ],
)
def test_names_are_found_in_each_form(text: str, kind: Kind, names: str) -> None:
    reader = read(text)
    assert says(reader, kind, [f"{one}.example" for one in names])
    assert reader.unread == []


def test_what_hosts_files_begin_with_is_neither_blocked_nor_told_of() -> None:
    begin = """127.0.0.1 localhost
127.0.0.1 localhost.localdomain
127.0.0.1 local
255.255.255.255 broadcasthost
::1 localhost
::1 ip6-localhost ip6-loopback
fe80::1%lo0 localhost
ff00::0 ip6-localnet
ff02::1 ip6-allnodes
127.0.1.1 myhost myhost.localdomain
0.0.0.0 0.0.0.0
"""
    reader = read(begin + "0.0.0.0 a.example\n")
    assert says(reader, (BLOCK, SELF), ["a.example", "myhost.localdomain"])
    assert reader.remarks() == []


def test_names_beyond_ascii_are_those_that_clients_ask_for() -> None:
    assert says(read("bücher.example\nSTRASSE.example\n||straße.example^\n"), (BLOCK, TREE), [
        "xn--bcher-kva.example", "strasse.example", "xn--strae-oqa.example"
    ])  # fmt: skip


@pytest.mark.parametrize("name", ["com", "co.uk", "home", "xn--p1ai", "рф", "any.ck"])
@pytest.mark.parametrize("form", ["||{}^", "{}", "*.{}", "*.{} CNAME ."])
def test_what_would_block_too_much_is_left_out(name: str, form: str) -> None:
    reader = read(f"{form.format(name)}\n||a.example^\nb.example CNAME .")
    assert (len(reader.broad), reader.count) == (1, 2)
    (remark,) = reader.remarks()
    assert remark.startswith("left out is what would block too much: ")
    assert "name it in 'block'" in remark


def test_names_that_hosters_hand_out_below_are_blocked_as_any_other() -> None:
    assert says(read("||duckdns.org^\n||www.ck^\n0.0.0.0 co.uk\n"), (BLOCK, TREE), ["duckdns.org", "www.ck"])


@pytest.mark.parametrize(
    "line",
    [
        "||a.example^$third-party",
        "||a.example/path^",
        "||a*.example^",
        "||a.example",
        "/ads[0-9]/",
        "example.com##.banner",
        "|https://a.example|",
        "192.0.2.1",
        "192.0.2.1 nas.example",
        "*a.example",
        "a..example",
        "-",
        "a.example b.example",
        "24.0.2.0.192.rpz-ip CNAME .",
        "a.example CNAME b.example.",
        "a.example A 192.0.2.1",
        "a.other. CNAME .",
        f"{'a' * 64}.example",
        f"{'a.' * 130}example",
        "a.example\u2028b",
        "<html><body>captive portal</body></html>",
    ],
)
def test_lines_that_are_not_understood_are_left_out_and_told_of(line: str) -> None:
    reader = read(f"$ORIGIN rpz.home.\n# 2\ngood.example\n{line}\n")
    assert reader.count == 1
    if len(line) < 200:  # a name that is too long is left out as others are, but not shown
        assert reader.unread[0].startswith("line 4 is not understood: ")
        assert reader.remarks() == reader.unread


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no names to block"),
        (b"# nothing\n\n", "it has no names to block"),
        (b"127.0.0.1 localhost\n", "it has no names to block"),
        (b"||com^\n", "it has no names to block"),
        (b"<!doctype html>\n<title>503</title>\n", "it has no names to block: line 1 is not understood: '<!doctype"),
        (b"a.example\n" + b"<p>\n" * 10, "it is not a list of names: line 2"),
        (b"a.example\n\0\n", "it is not text"),
        (b"\x1f\x8b\x08\0abc", "it is compressed"),
        (b"PK\3\4abc", "it is compressed"),
        (b"a.example\n" + b"x" * (MAX_LINE_BYTES + 1), "line 2 is longer than 65536 bytes"),
        (b"a.example " * 100_000, "line 1 is longer than 65536 bytes"),
        (b"a.example\nb.example\nc.example", r"it has more than 2 names \(max_names\)"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data, 2)


@pytest.mark.parametrize(
    "line",
    [
        b"a." * 30_000,
        b"0.0.0.0" + b" " * 60_000 + b"x",
        b"a.example" + b"\t " * 30_000 + b"|",
        b"0.0.0.0 a.example" + b" " * 60_000 + b"|",
        b"||" + b"a-" * 30_000,
        b"*." * 30_000,
        b"a.example cname" + b" " * 60_000 + b"x",
        b"a.example " + b"1 " * 30_000 + b"cname",
        b"\xff" * 60_000,
        b"a.example\r" * 6_000,
    ],
)
def test_no_line_takes_long(line: bytes) -> None:
    began = time.process_time()
    reader = read(b"good.example\nbetter.example\n" + (line + b"\n") * 8)
    assert reader.count >= 2
    assert time.process_time() - began < 5  # measured: 0.03 s


def test_a_list_that_nobody_waits_for_is_given_up() -> None:
    reader = ListReader(1000, is_registry, lambda: True)
    with pytest.raises(InterruptedError):
        reader.read(b"a.example\n")


def test_all_lines_of_a_long_list_are_read() -> None:
    forms = ("0.0.0.0 {0}", "0.0.0.0 x{0} y{0}", "||t{0}^", "d{0}", "", "# {0}")
    names = [f"n{number}.example" for number in range(20_000)]
    reader = read("\n".join([form.format(name) for name in names for form in forms]), 100_000)
    assert says(reader, (BLOCK, SELF), [first + name for name in names for first in ("", "x", "y")])
    assert says(reader, (BLOCK, TREE), [first + name for name in names for first in ("t", "d")])
