"""Zone files (RFC 1035 §5): read into record sets, with the place of each fault.

The grammar is dnspython's. `$INCLUDE` is done here: names of files are relative to the file they stand in, loops and
depths are bounded, and a fault in an included file has its place there. Records are given in wire form, as
`dns.zone.compile` makes them of the config.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from struct import error as struct_error
from typing import TYPE_CHECKING, Any

from dns.exception import DNSException
from msgspec import Struct, field

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.zone.content import signature_type, wire_type
from npserver.dns.zone.given_denial import excessive_iterations
from npserver.dns.zone.presigned import is_proof, is_signed, without_proofs
from npserver.errors import clip
from npserver.regex import regex
from npserver.sources.source import DataError

if TYPE_CHECKING:
    from npserver.dns.zone.content import Content

MAX_INCLUDES = 100  # files of one zone
MAX_DEPTH = 8  # of files that include others
MAX_GENERATED = 1 << 16  # records of one $GENERATE
MAX_GENERATED_OF_ALL = 1 << 18  # and of all in the files of a zone

_INCLUDE = regex(r'\$INCLUDE[ \t]+(?:"([^"]*)"|([^\s;"]+))(?:[ \t]+([^\s;]+))?[ \t]*(?:;.*)?', re.IGNORECASE)
_ORIGIN = regex(r"\$ORIGIN[ \t]+([^\s;]+)", re.IGNORECASE)
_DIRECTIVE = regex(r"\$GENERATE\b", re.IGNORECASE)
_GENERATE = regex(r"\$GENERATE[ \t]+([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?[ \t]", re.IGNORECASE)
_OWNER = regex(r"([^\s;$\"()]+\.)[ \t]")
_BESIDE_CNAME = frozenset({codes.NSEC, codes.RRSIG, codes.DNSKEY, 25})  # 25: KEY (RFC 4034 §3, RFC 3007 §2)
_SINGLE = frozenset({codes.CNAME, codes.DNAME})  # a name has one of them at most
_FAULTS = (DNSException, ValueError, OverflowError)
_PLACE = regex(r"<string>:([0-9]+): (.*)", re.DOTALL)

#: Returns the content of a file. Raises: DataError.
ReadFile = Callable[[str], bytes]


#: Modification time in ns, inode and size of a file; None if it is not there.
Stamp = tuple[int, int, int] | None


def stamp_of(file: str) -> Stamp:
    """Return the state of a file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class ZoneFileError(Exception):
    """A zone file cannot be used. The message begins with the file and line.

    `files`: those that were read or are missing, with their states before.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.files: dict[str, Stamp] = {}


class ZoneRecords(Struct):
    """The records of a zone, and the files that they are from."""

    sets: Content
    files: dict[str, Stamp]  # with their states before they were read
    notes: list[str] = field(default_factory=list)  # what is valid, and left out


def read_zone_file(path: str, apex: bytes, read: ReadFile) -> ZoneRecords:
    """Return the records of a zone. `apex`: in lower case. Raises: ZoneFileError."""
    text = _Text(read)
    try:
        return _read_zone(text, path, apex)
    except ZoneFileError as error:
        error.files = text.files
        raise


def _read_zone(text: _Text, path: str, apex: bytes) -> ZoneRecords:
    import dns.name  # few configs have zone files

    origin = dns.name.from_wire(apex, 0)[0]
    text.add(path, origin)
    zone = text.parse(origin)
    found: Content = {}
    for name, node in zone.nodes.items():
        key = name.to_wire().lower()
        of_name = found.setdefault(key, {})
        for records in node.rdatasets:
            data = tuple(dict.fromkeys([one.to_wire() for one in records]))
            rtype = signature_type(records.covers) if records.rdtype == codes.RRSIG else int(records.rdtype)
            of_name[rtype] = records.ttl, data
        if not of_name:
            del found[key]
    if codes.SOA not in found.get(apex, {}):
        raise ZoneFileError(f"{path}: no SOA record of {to_text(apex)}")
    if is_signed(found, apex):
        notes: list[str] = []
        if fault := excessive_iterations(found, apex):
            raise ZoneFileError(f"{path}: {fault}")
    else:
        found, notes = _without_proofs(found)
    return ZoneRecords(found, text.files, [f"{path}: {note}" for note in notes] + text.outside(origin))


def _without_proofs(content: Content) -> tuple[Content, list[str]]:
    """Return the records of a zone that is not signed, and a note of what is left out of them."""
    left_out = {codes.type_name(wire_type(one)): None for sets in content.values() for one in sets if is_proof(one)}
    notes = [f"{', '.join(left_out)} records are left out: the SOA record has no signature"] if left_out else []
    return without_proofs(content) if left_out else content, notes


class _Fault(Struct, frozen=True):
    """What is wrong with a record, which the parser accepts."""

    name: Any
    rtype: int | None  # None: with any of the name
    text: str


def _fault_of(zone: Any) -> _Fault | None:
    """Return what is wrong with the DNAME records of a zone (RFC 6672 §2.4)."""
    owners = {name for name, node in zone.nodes.items() if node.get_rdataset(zone.rdclass, codes.DNAME) is not None}
    if not owners:
        return None
    for name in owners:
        if name != zone.origin and zone.nodes[name].get_rdataset(zone.rdclass, codes.NS) is not None:
            return _Fault(name, codes.DNAME, f"{name} has a DNAME and NS records: it can have both at the apex alone")
    for name, node in zone.nodes.items():
        if all(one.rdtype in (codes.NSEC3, codes.RRSIG) for one in node.rdatasets):
            continue  # a hash is no name of the zone
        above = name
        while above != zone.origin:
            above = above.parent()
            if above in owners:
                return _Fault(name, None, f"{name} lies below {above}, and its DNAME stands for all names below")
    return None


def _parse(lines: list[str], origin: Any, most: int, fault: _Fault | None = None) -> Any:
    """Return the zone of the lines, which have at most so many records."""
    import dns.zone

    text = "".join([f"{line} \n" for line in lines])  # after a blank the line that a fault is reported for is right
    setup = partial(_check_aliases, most=most, fault=fault)
    return dns.zone.from_text(text, origin, relativize=False, check_origin=False, transaction_setup=setup)


def _check_aliases(transaction: Any, most: int, fault: _Fault | None) -> None:
    """Have the parser say at which line a name gets a CNAME beside other records, or a record that is a fault."""
    import dns.exception

    left = iter(range(most))

    def check(within: Any, name: Any, records: Any) -> None:
        if next(left, None) is None:
            raise dns.exception.SyntaxError("$GENERATE must begin its line")  # type: ignore[no-untyped-call]
        if fault is not None and name == fault.name and fault.rtype in (None, records.rdtype):
            raise dns.exception.SyntaxError(fault.text)  # type: ignore[no-untyped-call]
        node = within.get_node(name)
        known = node.get_rdataset(records.rdclass, records.rdtype) if node is not None else None
        if known is not None and records.rdtype in _SINGLE and known != records:
            kind = codes.type_name(records.rdtype)
            raise dns.exception.SyntaxError(  # type: ignore[no-untyped-call]
                f"{name} has several {kind} records"
            )
        others = [one for one in node.rdatasets if one.rdtype not in _BESIDE_CNAME] if node is not None else []
        is_alias = records.rdtype == codes.CNAME
        if records.rdtype not in _BESIDE_CNAME and any((one.rdtype == codes.CNAME) != is_alias for one in others):
            raise dns.exception.SyntaxError(  # type: ignore[no-untyped-call]
                f"{name} has a CNAME and other records"
            )

    transaction.check_put_rdataset(check)


class _Text:
    """The lines of a zone file with those of the files that it includes, and where each stands."""

    def __init__(self, read: ReadFile) -> None:
        self.lines: list[str] = []
        self.files: dict[str, Stamp] = {}
        self._read = read
        self._places: list[tuple[str, int]] = []
        self._generated = 0  # records by $GENERATE

    def add(self, path: str, origin: object, within: tuple[str, ...] = (), place: str = "") -> None:
        """Add the lines of a file. `within`: the files that include it, `place`: where. Raises: ZoneFileError."""
        import dns.name

        self.files.setdefault(path, stamp_of(path))
        try:
            content = self._read(path).decode("utf-8")
        except DataError as error:
            raise ZoneFileError(f"{place}{error}") from None
        except UnicodeDecodeError as error:
            raise ZoneFileError(f"{path}: not text in UTF-8 (byte {error.start})") from None
        for number, line in enumerate(content.splitlines(), 1):
            here = f"{path}:{number}"
            if (found := _INCLUDE.fullmatch(line)) is not None:
                name, new_origin = found[1] or found[2] or "", found[3]
                if not name or "\0" in name:
                    raise ZoneFileError(f"{here}: $INCLUDE of {clip(name)}: expected the name of a file")
                place = os.path.join(os.path.dirname(path), name)
                if place in (path, *within) or len(within) >= MAX_DEPTH or len(self.files) > MAX_INCLUDES:
                    raise ZoneFileError(f"{here}: $INCLUDE of {clip(name)}: a loop, or too many files")
                inner = origin
                try:
                    inner = origin if new_origin is None else dns.name.from_text(new_origin, origin)  # type: ignore[arg-type]
                except _FAULTS as error:
                    raise ZoneFileError(f"{here}: {error}") from None
                self._append(f"$ORIGIN {inner}", path, number)
                self.add(place, inner, (path, *within), f"{here}: $INCLUDE of {clip(name)}: ")
                line = f"$ORIGIN {origin}"
            elif (found := _ORIGIN.match(line)) is not None:
                try:
                    origin = dns.name.from_text(found[1], origin)  # type: ignore[arg-type]
                except _FAULTS as error:
                    raise ZoneFileError(f"{here}: {error}") from None
            elif _DIRECTIVE.match(line) is not None:
                self._generated += _generated(line, here)
                if self._generated > MAX_GENERATED_OF_ALL:
                    raise ZoneFileError(f"{here}: more than {MAX_GENERATED_OF_ALL} records by $GENERATE in all")
            self._append(line, path, number)

    def _append(self, line: str, path: str, number: int) -> None:
        self.lines.append(line)
        self._places.append((path, number))

    def parse(self, origin: Any) -> Any:
        """Return the lines as a zone of dnspython. Raises: ZoneFileError."""
        fault: _Fault | None = None
        most = len(self.lines) + self._generated
        try:
            zone = _parse(self.lines, origin, most)
            fault = _fault_of(zone)
            return zone if fault is None else _parse(self.lines, origin, most, fault)
        except struct_error:  # of LOC
            path, line = self._places[self._too_large_at(origin, most)]
            raise ZoneFileError(f"{path}:{line}: a number is too large") from None
        except _FAULTS as error:
            found = _PLACE.fullmatch(str(error))
            if found is None:
                raise ZoneFileError(f"{next(iter(self.files))}: {error or type(error).__name__}") from None
            number = min(int(found[1]), len(self.lines))
            try:  # the parser is in the next line already when a line ends too early
                _parse(self.lines[: number - 1], origin, most, fault)
            except _FAULTS:
                number -= 1
            path, line = self._places[number - 1]
            raise ZoneFileError(f"{path}:{line}: {_explained(found[2], self.lines[number - 1])}") from None

    def _too_large_at(self, origin: Any, most: int) -> int:
        """Return the index of the first line with a number that is too large, of which the parser tells no place."""

        def is_before(count: int) -> bool:
            try:
                _parse(self.lines[:count], origin, most)
            except struct_error:
                return False
            except _FAULTS:  # a record that is cut
                return True
            return True

        return bisect_left(range(1, len(self.lines) + 1), True, key=lambda count: not is_before(count))

    def outside(self, origin: Any) -> list[str]:
        """Return a note for each absolute owner outside the zone, which the parser leaves out."""
        apex = str(origin).lower()
        suffix = f".{apex}" if apex != "." else "."
        found = [(at, owner[1]) for at, line in enumerate(self.lines) if (owner := _OWNER.match(line)) is not None]
        places = [(self._places[at], name) for at, name in found if not f".{name.lower()}".endswith(suffix)]
        return [f"{path}:{line}: {clip(name)} is not in the zone, and left out" for (path, line), name in places[:20]]


def _explained(message: str, line: str) -> str:
    """Return a message of the parser, with what it does not say."""
    if message == "Text input is malformed.":
        return f"malformed: {clip(line.strip())}"
    if message == "Missing default TTL value":
        return "a record without a TTL, and none before it has one: begin the file with '$TTL 1h'"
    return message


def _generated(line: str, here: str) -> int:
    """Return how many records a $GENERATE makes. Raises: ZoneFileError, if they are too many, too."""
    found = _GENERATE.match(line)
    if found is None:  # the parser would take a range of several lines, however large
        raise ZoneFileError(f"{here}: expected in one line: $GENERATE, first-last or first-last/step, name, type, data")
    count = (int(found[2]) - int(found[1])) // max(1, int(found[3] or 1)) + 1
    if count > MAX_GENERATED:
        raise ZoneFileError(f"{here}: $GENERATE of {count} records, at most {MAX_GENERATED} are possible")
    return max(0, count)
