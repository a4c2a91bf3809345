"""Types of records by name: config, zone file and update make the same of them, and refuse what is wrong."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import dns.message
import dns.rdata
import dns.update
import pytest

from npserver.cli.check import main as check
from npserver.dns.message import codes
from npserver.dns.message.data_form import has_form
from npserver.dns.message.dnssec import canonical_data
from npserver.dns.message.name import parse_owner
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.content import Content
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.zone import update
from npserver.nameserver.zones.zone_file import ZoneFileError, read_zone_file
from tests.stage.nameserver import ask, processor_of, tables_of

APEX = parse_owner("example.com")
SHA256, SHA1 = 32 * "0a", 20 * "0a"
KEY = "mDMEXEcE6RYJKwYBBAHaRw8BAQdArjWwk3FAqyiFbFBKT4TzXcVBqPTB3gmzlC/Ub7O1u120"
RECORDS = {
    "TLSA": f"3 1 1 {SHA256}",
    "SSHFP": f"4 2 {SHA256}",
    "NAPTR": '100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .',
    "DS": f"12345 13 2 {SHA256}",
    "DNAME": "Other.example.net.",
    "LOC": "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    "URI": '10 1 "ftp://ftp1.example.com/public"',
    "OPENPGPKEY": KEY,
}
#: By type: what is wrong in a config or a zone file, and what is said of it.
WRONG = {
    "TLSA": {
        f"3 1 1 {SHA1}": "length inconsistent with matching type", "3 1 1 zz": "Non-hexadecimal digit",
        f"256 1 1 {SHA256}": "256 is not an unsigned 8-bit integer", "3 1 1": "expecting another identifier",
    },
    "SSHFP": {
        f"4 2 {SHA1}": "length inconsistent with fingerprint type", "4 2 xyz": "Odd-length string",
        f"300 1 {SHA1}": "300 is not an unsigned 8-bit integer",
    },
    "NAPTR": {
        '10 20 "u" "E2U+sip" "x"': "expecting an identifier", '70000 1 "" "" "" .': "70000 is not an unsigned 16-bit",
        f'1 1 "{300 * "a"}" "" "" .': "string too long", '1 1 "u" "" "" a..b.': "label is empty",
    },
    "DS": {
        f"1 13 2 {SHA1}": "length inconsistent with digest type", "0 0 0 00": "digest type 0 is reserved",
        f"70000 13 2 {SHA256}": "70000 is not an unsigned 16-bit integer",
    },
    "DNAME": {"a..b": "label is empty", "": ""},
    "LOC": {
        "91 0 0 N 0 0 0 E 0m": "degrees not in range", "52 N 4": "expecting a string",
        "52 22 23 N 4 53 32 E 1e9m": "number is too large", "52 22 23 N 4 53 32 E -200000.00m": "number is too large",
    },
    "URI": {
        '10 1 ""': "URI target cannot be empty", '70000 1 "x"': "70000 is not an unsigned", "10 1 a b": "expected EOL",
    },
    "OPENPGPKEY": {"!!": "Only base64 data is allowed", "": "expecting another identifier"},
}  # fmt: skip
CASES = [(kind, value, said) for kind, values in WRONG.items() for value, said in values.items()]


def of_config(kind: str, value: str) -> Content:
    tables = tables_of({"example.com": {"NS": "ns.example.net"}, "x.example.com": {kind: value, "TTL": 60}})
    return {node.key: dict(node.sets) for node in tables.nodes.values() if node.sets}


def of_file(path: Path, line: str) -> Content:
    text = f"$TTL 60\n@ SOA ns.example.net. host.example.net. 7 3600 600 604800 300\n@ NS ns.example.net.\n{line}\n"
    path.write_text(text)
    return read_zone_file(str(path), APEX, lambda name: Path(name).read_bytes()).sets


def test_the_line_of_a_number_that_is_too_large_is_found_among_many(tmp_path: Path) -> None:
    lines = [f"h{number} LOC 52 22 23 N 4 53 32 E {number}m" for number in range(100)]
    lines[70] = "h70 LOC ( 52 22 23 N ; a record of\n   4 53 32 E 1e9m ) ; two lines"
    with pytest.raises(ZoneFileError, match=r"zone:75: a number is too large"):
        of_file(tmp_path / "zone", "\n".join(lines))


def of_update(content: Content, kind: str, value: str) -> Content:
    message = dns.update.UpdateMessage("example.com")
    message.add("x", 60, kind, value)
    return update(content, APEX, read_update(message.to_wire()), lambda name, rtype: True)


@pytest.mark.parametrize("kind", RECORDS)
def test_config_zone_file_and_update_make_the_same(kind: str, tmp_path: Path) -> None:
    value, name = RECORDS[kind], parse_owner("x.example.com")
    wire = dns.rdata.from_text("IN", kind, value).to_wire()
    assert wire is not None
    rtype = codes.TYPES[kind]
    wanted = {rtype: (60, (wire,))}
    assert of_config(kind, value)[name] == wanted
    assert of_file(tmp_path / "zone", f"x {kind} {value}")[name] == wanted
    before = of_file(tmp_path / "zone", "")
    updated = of_update(before, kind, value)
    assert updated[name] == wanted
    tables = compile_tables({}, Settings(300, [APEX], contents={APEX: updated}), lambda path, message: None)
    reply = ask(processor_of(tables), dns.message.make_query("x.example.com", kind).to_wire())
    (records,) = dns.message.from_wire(reply or b"").answer
    assert (records.ttl, records[0]) == (60, dns.rdata.from_text("IN", kind, value))
    assert has_form(rtype, wire)
    canonical_data(rtype, wire)


@pytest.mark.parametrize(("kind", "value", "said"), CASES)
def test_check_names_the_place_of_what_is_wrong(
    kind: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "npserver.json"
    quoted = value.replace('"', '\\"')
    file.write_text(
        '{ "listen": ["udp://127.0.0.1:5353", "tcp://127.0.0.1:5353"], "dispatch": [{ "handler": "dns" }],\n'
        f'  "dns": {{ "x.example.com": {{ "{kind}": "{quoted}" }} }} }}'
    )
    assert check(["-config", str(file)]) == 2
    place = f"npserver.json:2:{len(kind) + 35}: {kind}: "
    found = capsys.readouterr().err
    assert place in found
    assert said in found


@pytest.mark.parametrize(("kind", "value", "said"), [case for case in CASES if case[0] != "DNAME" or case[1]])
def test_a_zone_file_names_the_line_of_what_is_wrong(kind: str, value: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ZoneFileError, match=r"zone:4: ") as caught:
        of_file(tmp_path / "zone", f"x {kind} {value}")
    assert said.replace("expecting another identifier", "") in str(caught.value)


#: Data that has not the form of its type; those of updates are read by dnspython, those of transfers as they are.
MALFORMED = {
    "TLSA": b"\3\1\1", "SSHFP": b"\4\2", "NAPTR": b"\0\1\0\1\1u\7E2U", "DS": b"\0\1\r\2", "DNAME": b"\7example",
    "LOC": b"\0\1\2", "URI": b"\0\1\0\1", "OPENPGPKEY": b"",
}  # fmt: skip


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_data_of_others_is_refused(kind: str, tmp_path: Path) -> None:
    rtype, data = codes.TYPES[kind], MALFORMED[kind]
    assert not has_form(rtype, data)
    made: Any = dns.update.UpdateMessage("example.com")
    wire = bytearray(made.to_wire())
    wire[8:10] = b"\0\1"
    wire += parse_owner("x.example.com") + struct.pack("!HHIH", rtype, 1, 60, len(data)) + data
    if kind == "OPENPGPKEY":
        return  # without data an update removes records, and is of another class
    with pytest.raises(UpdateError):
        read_update(bytes(wire))


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1\0\1", b"\0\1\0\1\xffx", b"\0\1\0\1\0\0\0", b"\0\1\0\1\0\0\0\1x"])
def test_naptr_that_ends_early(data: bytes) -> None:
    assert not has_form(codes.NAPTR, data)
    assert has_form(codes.NAPTR, b"\0\1\0\1\1u\0\0\1x\0")


@pytest.mark.parametrize("rtype", [3, 4, 7, 8, 9, 14, 17, 18, 21, 26, 36])
def test_old_types_with_names_that_are_cut(rtype: int) -> None:
    """They are signed in lower case (RFC 4034 §6.2): the names in them are read."""
    before = b"\0\1" if rtype in (18, 21, 26, 36) else b""
    whole = before + b"\1a\0" * (2 if rtype in (14, 17, 26) else 1)
    assert has_form(rtype, whole)
    assert canonical_data(rtype, whole) == whole
    for size in range(len(whole)):
        assert not has_form(rtype, whole[:size])
    assert not has_form(rtype, whole + b"x")
