"""Zone transfers from a primary server: reads the messages of AXFR (RFC 5936) and IXFR (RFC 1995). Pure.

Nothing of a transfer is used before its end, and nothing if anything in it is wrong. What is sent is bounded in records
and bytes. Names outside the zone are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.data_form import has_form
from npserver.dns.message.header import HEADER_BYTES, OPCODE_MASK, OPCODE_SHIFT, QR, TC
from npserver.dns.message.name import to_text
from npserver.dns.message.sections import Record, read_records
from npserver.dns.zone.compile import MAX_SET_BYTES
from npserver.dns.zone.content import Content, content_type, is_newer, wire_type
from npserver.dns.zone.given_denial import excessive_iterations
from npserver.dns.zone.presigned import is_signed
from npserver.dns.zone.tables import RecordSet, soa_serial

MAX_RECORDS = 5_000_000
MAX_BYTES = 1 << 30  # of all messages
#: Types that a name with a CNAME can have beside it (RFC 4034 §3, RFC 2181 §10.1), as messages have them; 25: KEY.
_BESIDE_CNAME = frozenset({codes.CNAME, codes.RRSIG, codes.NSEC, 25})

Sets = dict[int, tuple[int, dict[bytes, None]]]  # of one name: TTL and data by type


class TransferError(ValueError):
    """A transfer is not as it must be. Attribute: `rcode` (of a refusal, else 0)."""

    def __init__(self, message: str, rcode: int = 0) -> None:
        super().__init__(message)
        self.rcode = rcode


class Received(Struct, frozen=True):
    """A transfer that has ended."""

    content: Content | None  # None: there is nothing newer
    serial: int
    is_incremental: bool = False
    left_out: tuple[str, ...] = ()  # what is not in the content, for the log


class _State(Enum):
    BEGIN = "begin"
    SECOND = "second"  # the record after the first SOA says what the transfer is
    WHOLE = "whole"
    REMOVED = "removed"
    ADDED = "added"
    END = "end"


class TransferReader:
    """Reads one transfer.

    Args:
        apex: of the zone, in lower case.
        request: the message that asked for the transfer, without its signature.
        content: that an IXFR begins with; None for AXFR.
        serial: that of the content.
    """

    def __init__(self, apex: bytes, request: bytes, content: Content | None = None, serial: int = 0) -> None:
        self._apex = apex
        self._request = request
        self._base: Content = content or {}
        self._is_ixfr = content is not None
        self._serial = serial
        self._state = _State.BEGIN
        self._soa = Record(0, b"", 0, 0, 0, b"")
        self._current = serial  # the version that the records so far lead to
        self._names: dict[bytes, Sets] = {}  # new or changed
        self._records = self._bytes = 0
        self._outside = 0
        self._is_incremental = False

    def __repr__(self) -> str:
        return f"<TransferReader {to_text(self._apex)} {self._state.value} records={self._records}>"

    def take(self, message: bytes) -> Received | None:
        """Read the next message, without its signature; return what was received if it is the last one.

        Raises: TransferError.
        """
        self._check_head(message)
        self._bytes += len(message)
        if self._bytes > MAX_BYTES:
            raise TransferError(f"it sends more than {MAX_BYTES} bytes")
        before = self._records
        try:
            for one in read_records(message, 1, needs_question=False):
                self._records += 1
                if self._records > MAX_RECORDS:
                    raise TransferError(f"it sends more than {MAX_RECORDS} records")
                self._take(one)
        except TransferError:
            raise
        except ValueError as error:
            raise TransferError(f"it sends a malformed message: {error}") from None
        if self._records == before:
            raise TransferError("it sends a message without records")
        if self._state is _State.END:
            return self._received()
        if self._state is _State.SECOND and self._is_ixfr and not is_newer(self._current, self._serial):
            return Received(None, self._current)
        return None

    def _check_head(self, message: bytes) -> None:
        if len(message) < HEADER_BYTES or message[:2] != self._request[:2]:
            raise TransferError("it sends a message with another id")
        flags = int.from_bytes(message[2:4], "big")
        if not flags & QR or flags >> OPCODE_SHIFT & OPCODE_MASK or flags & TC:
            raise TransferError("it sends a message that is no reply, or is cut short")
        if rcode := flags & 0xF:
            raise TransferError(f"it refuses the transfer ({codes.rcode_name(rcode)})", rcode)
        question = self._request[HEADER_BYTES : HEADER_BYTES + len(self._apex) + 4]
        count, end = int.from_bytes(message[4:6], "big"), HEADER_BYTES + len(question)
        asked = message[HEADER_BYTES:end]
        if count > 1 or (count and (asked[:-4].lower(), asked[-4:]) != (question[:-4].lower(), question[-4:])):
            raise TransferError("it answers another question")

    def _take(self, one: Record) -> None:
        owner = one.owner.lower()
        if self._state is _State.END:
            raise TransferError("it sends records after the end")
        if one.rclass != codes.CLASS_IN:
            raise TransferError(f"{to_text(owner)}: a record of class {one.rclass}")
        if one.rtype == codes.SOA:
            self._take_soa(owner, one)
            return
        if self._state is _State.BEGIN:
            raise TransferError("it does not begin with the SOA record")
        if self._state is _State.SECOND:
            self._state = _State.WHOLE
            self._base = {}
        if not owner.endswith(self._apex) or not _is_below(owner, self._apex):
            self._outside += 1
        elif not has_form(one.rtype, one.data):
            raise TransferError(f"{to_text(owner)}: malformed data of a record of type {codes.type_name(one.rtype)}")
        elif self._state is _State.REMOVED:
            self._remove(owner, one)
        else:
            self._add(owner, one)

    def _take_soa(self, owner: bytes, one: Record) -> None:
        if owner != self._apex:
            raise TransferError(f"it sends an SOA record of {to_text(owner)}")
        if not has_form(codes.SOA, one.data):
            raise TransferError("a malformed SOA record")
        serial = soa_serial(one.data)
        match self._state:
            case _State.BEGIN:
                self._soa, self._current, self._state = one, serial, _State.SECOND
            case _State.SECOND if self._is_ixfr and serial == self._serial and one.data != self._soa.data:
                self._is_incremental, self._current, self._state = True, serial, _State.REMOVED
            case _State.SECOND | _State.WHOLE:
                if one.data != self._soa.data:
                    raise TransferError("an SOA record in the middle: the zone has changed meanwhile")
                self._base = {} if self._state is _State.SECOND else self._base
                self._state = _State.END
            case _State.REMOVED:
                if not is_newer(serial, self._current):
                    raise TransferError("the changes lead to a serial that is not newer")
                self._current, self._state = serial, _State.ADDED
            case _State.ADDED:
                if serial != self._current:
                    raise TransferError("changes are missing between two serials")
                is_last = serial == soa_serial(self._soa.data)
                self._state = _State.END if is_last else _State.REMOVED

    # ── records ──

    def _sets(self, owner: bytes) -> Sets:
        """Return the record sets of a name, to change them."""
        found = self._names.get(owner)
        if found is None:
            before = self._base.get(owner, {})
            found = {rtype: (ttl, dict.fromkeys(data)) for rtype, (ttl, data) in before.items()}
            self._names[owner] = found
        return found

    def _add(self, owner: bytes, one: Record) -> None:
        sets, rtype = self._sets(owner), content_type(one.rtype, one.data)
        known = sets.get(rtype)
        if known is None:
            sets[rtype] = (one.ttl, {one.data: None})
            return
        known[1][one.data] = None
        if known[0] != one.ttl:  # RFC 2181 §5.2: all records of a set have the same
            sets[rtype] = (min(known[0], one.ttl) if not self._is_incremental else one.ttl, known[1])

    def _remove(self, owner: bytes, one: Record) -> None:
        rtype = content_type(one.rtype, one.data)
        known = self._sets(owner).get(rtype)
        if known is None or one.data not in known[1]:
            raise TransferError(f"{to_text(owner)}: it removes a {codes.type_name(one.rtype)} record that is not there")
        del known[1][one.data]
        if not known[1]:
            del self._names[owner][rtype]

    def _received(self) -> Received:
        soa = self._soa
        self._sets(self._apex)[codes.SOA] = (soa.ttl, {soa.data: None})
        content = {name: sets for name, sets in self._base.items() if name not in self._names}  # shared, if unchanged
        for name, sets in self._names.items():
            if sets:
                content[name] = {rtype: (ttl, tuple(data)) for rtype, (ttl, data) in sets.items()}
                _check_name(name, content[name])
        left_out = [f"{self._outside} records outside the zone"] if self._outside else []
        if is_signed(content, self._apex) and (fault := excessive_iterations(content, self._apex)):
            raise TransferError(fault)
        return Received(content, soa_serial(soa.data), self._is_incremental, tuple(left_out))


def _check_name(name: bytes, sets: Mapping[int, RecordSet]) -> None:
    if codes.CNAME in sets and (len(sets[codes.CNAME][1]) > 1 or not {wire_type(one) for one in sets} <= _BESIDE_CNAME):
        raise TransferError(f"{to_text(name)} has a CNAME and other records")
    if codes.DNAME in sets and len(sets[codes.DNAME][1]) > 1:
        raise TransferError(f"{to_text(name)} has several DNAME records")
    for rtype, (_, data) in sets.items():
        if sum(map(len, data)) + 12 * len(data) > MAX_SET_BYTES:
            raise TransferError(
                f"{to_text(name)}: more {codes.type_name(wire_type(rtype))} records than a message can hold"
            )


def _is_below(name: bytes, apex: bytes) -> bool:
    """Whether a name that ends in the bytes of an apex is at or below it."""
    position, start = 0, len(name) - len(apex)
    while position < start:
        position += name[position] + 1
    return position == start
