"""Zone files: what is read, and where each fault is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.nameserver.zones.zone_file import MAX_DEPTH, ZoneFileError, ZoneRecords, read_zone_file
from npserver.sources.source import DataError

HEAD = "$TTL 300\n@ SOA ns hostmaster 5 3600 600 604800 300\n"
APEX = parse_owner("example.test")


def read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def read(directory: Path, **texts: str) -> ZoneRecords:
    """Read the zone of the file `zone`; the others are beside it."""
    for name, text in texts.items():
        (directory / name).write_text(text)
    return read_zone_file(str(directory / "zone"), APEX, read_bytes)


def fault(directory: Path, **texts: str) -> str:
    with pytest.raises(ZoneFileError) as error:
        read(directory, **texts)
    return str(error.value).replace(f"{directory}/", "")


def names(records: ZoneRecords) -> list[str]:
    return [to_text(key) for key in records.sets]


def test_the_records_of_a_zone(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        zone=HEAD + '  NS NS\nns 60 A 10.0.0.1\n  A 10.0.0.2\nWWW CNAME @\n$ORIGIN sub\n* TXT "a;b" ( c ; d\n e )\n',
    )
    assert names(found) == ["example.test.", "ns.example.test.", "www.example.test.", "*.sub.example.test."]
    assert found.sets[APEX].keys() == {codes.SOA, codes.NS}
    assert found.sets[APEX][codes.NS] == (300, (b"\x02NS\x07example\x04test\0",))
    assert found.sets[parse_owner("ns.example.test")] == {codes.A: (60, (b"\n\0\0\1", b"\n\0\0\2"))}
    assert found.sets[parse_owner("*.sub.example.test")] == {codes.TXT: (300, (b"\3a;b\1c\1e",))}
    assert found.notes == []


def test_generated_records(tmp_path: Path) -> None:
    assert names(read(tmp_path, zone=HEAD + "$GENERATE 1-3 h$ A 10.0.0.$\n"))[1:] == [
        f"h{number}.example.test." for number in (1, 2, 3)
    ]


def test_included_files(tmp_path: Path) -> None:
    """Relative to the file they stand in, with an origin of their own; afterwards the former one is in force again."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "inner").write_text("c A 10.0.0.3\n")
    (tmp_path / "d" / "outer").write_text("b A 10.0.0.2\n$INCLUDE inner\n$ORIGIN elsewhere\nx A 10.0.0.9\n")
    found = read(tmp_path, zone=HEAD + 'a A 10.0.0.1\n$include "d/outer" sub ; comment\nd A 10.0.0.4\n')
    assert names(found)[1:] == [f"{name}.example.test." for name in ("a", "b.sub", "c.sub", "x.elsewhere.sub", "d")]
    assert [Path(file).name for file in found.files] == ["zone", "outer", "inner"]


FAULTS = {
    "b A 10.9.9.": "zone:3: malformed: 'b A 10.9.9.'",
    "b A": "zone:3: expecting an identifier",
    "b MX ten a": "zone:3: expecting an integer",
    "b BLA x": "zone:3: unknown rdatatype 'BLA'",
    "b A 10.0.0.1 junk": 'zone:3: expected EOL or EOF, got 3 "junk"',
    'b TXT "unterminated': "zone:3: newline in quoted string",
    "$FOO x": "zone:3: zone file directive '$FOO' is not allowed",
    "b A 10.0.0.1\nb CNAME a": "zone:4: b.example.test. has a CNAME and other records",
    "b CNAME a\nb A 10.0.0.1": "zone:4: b.example.test. has a CNAME and other records",
    "b DNAME a\nb CNAME a": "zone:4: b.example.test. has a CNAME and other records",
    "b DNAME a\nb NS a": "zone:3: b.example.test. has a DNAME and NS records: it can have both at the apex alone",
    "b DNAME a\nb TXT x\n1.2.b TXT y": (
        "zone:5: 1.2.b.example.test. lies below b.example.test., and its DNAME stands for all names below"
    ),
    "2.b TXT y\nb DNAME a": "zone:3: 2.b.example.test. lies below b.example.test., and its DNAME stands for",
    "@ DNAME example.net.": "zone:4: ok.example.test. lies below example.test., and its DNAME",
    "b DNAME a\nb DNAME c": "zone:4: b.example.test. has several DNAME records",
    "b CNAME a\nb CNAME c": "zone:4: b.example.test. has several CNAME records",
    "b CH A 1.2.3.4": "zone:3: RR class is not zone's class",
    "b SSHFP 1 1 zz": "zone:3: Non-hexadecimal digit found",
    "a..b A 1.2.3.4": "zone:3: A DNS label is empty.",
    "$ORIGIN a..b": "zone:3: A DNS label is empty.",
    "$INCLUDE gone": "zone:3: $INCLUDE of 'gone': cannot read",
    '$INCLUDE ""': "zone:3: $INCLUDE of '': expected the name of a file",
    "$INCLUDE a\0b": "zone:3: $INCLUDE of 'a\\x00b': expected the name of a file",
    "$INCLUDE zone": "zone:3: $INCLUDE of 'zone': a loop, or too many files",
    "$INCLUDE other a..b": "zone:3: A DNS label is empty.",
    "$GENERATE 0-999999999 h$ A 10.0.0.1": "zone:3: $GENERATE of 1000000000 records, at most 65536 are possible",
    "$GENERATE 0-9999999/2000 h$ A": "zone:3:",
    "$GENERATE 0-" + "9" * 5000 + " h$ A 10.0.0.1": "zone:3: expected in one line: $GENERATE, first-last",
    "$GENERATE (\n0-99999999 h$ A 10.0.0.1 )": "zone:3: expected in one line: $GENERATE, first-last",
    '$GENERATE "0-99999999" h$ A 10.0.0.1': "zone:3: expected in one line: $GENERATE, first-last",
    "( $GENERATE 0-99999999 h$ A 10.0.0.1 )": "zone:3: $GENERATE must begin its line",
    "(\n\n$GENERATE\n 0-99999999 h$ A 10.0.0.1 )": "zone:5: expected in one line: $GENERATE, first-last",
    "$GENERATE 0-65535 h$ A 10.0.0.1\n" * 5: "zone:7: more than 262144 records by $GENERATE in all",
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_have_their_place(tmp_path: Path, line: str) -> None:
    said = fault(tmp_path, zone=f"{HEAD}{line}\nok A 10.0.0.1\n", other="x A 10.0.0.1\n")
    assert said.startswith(FAULTS[line])


def test_faults_in_included_files_have_their_place_there(tmp_path: Path) -> None:
    assert fault(tmp_path, zone=HEAD + "$INCLUDE other\n", other="a A 10.0.0.1\nb A x\n") == (
        "other:2: malformed: 'b A x'"
    )


def test_files_that_include_each_other(tmp_path: Path) -> None:
    texts = {f"f{number}": f"$INCLUDE f{number + 1}\n" for number in range(MAX_DEPTH + 1)}
    assert "a loop, or too many files" in fault(tmp_path, zone=HEAD + "$INCLUDE f0\n", **texts)
    assert "a loop" in fault(tmp_path, zone=HEAD + "$INCLUDE f0\n", f0="$INCLUDE f1\n", f1="$INCLUDE f0\n")


def test_the_files_of_a_fault_are_known(tmp_path: Path) -> None:
    """Those that are missing, too: they are waited for."""
    (tmp_path / "zone").write_text(HEAD + "$INCLUDE a\n$INCLUDE b\n$INCLUDE c\n")
    (tmp_path / "a").write_text("x A 10.0.0.1\n")
    with pytest.raises(ZoneFileError) as error:
        read_zone_file(str(tmp_path / "zone"), APEX, read_bytes)
    assert {Path(file).name: stamp is None for file, stamp in error.value.files.items()} == {
        "zone": False,
        "a": False,
        "b": True,
    }


def test_a_record_without_a_ttl(tmp_path: Path) -> None:
    assert fault(tmp_path, zone="a A 10.0.0.1\n") == (
        "zone:1: a record without a TTL, and none before it has one: begin the file with '$TTL 1h'"
    )


def test_a_zone_without_soa(tmp_path: Path) -> None:
    assert fault(tmp_path, zone="a 300 A 10.0.0.1\n") == "zone: no SOA record of example.test."


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "zone").write_bytes(b"\xff\xfe")
    assert "not text in UTF-8" in fault(tmp_path)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Signatures of another program, and names of other zones."""
    found = read(tmp_path, zone=HEAD + "@ NSEC a SOA\nb.Other.test. A 10.0.0.1\na.EXAMPLE.test. A 10.0.0.1\n")
    assert names(found) == ["example.test.", "a.example.test."]
    assert [note.replace(f"{tmp_path}/", "") for note in found.notes] == [
        "zone: NSEC records are left out: the SOA record has no signature",
        "zone:4: 'b.Other.test.' is not in the zone, and left out",
    ]
