"""Reads a block list: a hosts file, domains, rules of ad blockers or a response policy zone, told apart line by line.

    0.0.0.0 ads.example         hosts file: the name itself; also with 127.0.0.1, :: or ::1
    ads.example                 domain: the name and all names below; also *.ads.example and .ads.example
    ||ads.example^              rule of ad blockers, the same; @@||good.example^ is an exception
    ads.example CNAME .         response policy zone: the name itself; *.ads.example: the names below

Names are kept as hashes of 64 bits. Pure; called by `nameserver.blocking.block_list`, in the controller, in a thread.
Lists come from strangers: no line takes long. Lines of common forms are found by a few regular expressions, block by
block; the rest is read line by line.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from enum import IntEnum
from hashlib import blake2b
from re import MULTILINE, Pattern

from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.regex import regex


class Action(IntEnum):
    """What a list says of a name."""

    BLOCK = 0  # it is answered as the config says
    NXDOMAIN = 1
    NODATA = 2
    REFUSE = 3
    PASS = 4  # it is not blocked, unless the same list says more of a name below
    EXCEPT = 5  # it is not blocked, whatever the lists say


class Extent(IntEnum):
    """Which names an entry is about."""

    SELF = 0
    TREE = 1  # the name and those below
    BELOW = 2


Kind = tuple[Action, Extent]
#: Whether a name is one that a registry hands names out below, such as `co.uk`.
IsSuffix = Callable[[bytes], bool]

MAX_LINE_BYTES = 64 << 10
MAX_NAME_CHARACTERS = 253
MAX_SHOWN = 3  # examples of lines that are left out
_PATIENCE = 10_000  # lines that are not understood, after which nine in ten make it no list

_LABEL, _TOP = rb"[a-z0-9_-]{1,63}", rb"[a-z][a-z0-9-]{0,62}"
_NAME = rb"((?:%b\.){1,126}%b)" % (_LABEL, _TOP)
_END = rb"[ \t]*\r?$"
_COMMENT = regex(rb"^[ \t]*(?:[#!;\[][^\n]*)?$", MULTILINE)
_HOST = regex(rb"^(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+%b(?:[ \t]+#[^\n]*|[ \t]*\r?)$" % _NAME, MULTILINE)
_DOMAIN = regex(rb"^%b%b" % (_NAME, _END), MULTILINE)
_RULE = regex(rb"^\|\|%b\^%b" % (_NAME, _END), MULTILINE)
#: Triggers by address or name server, which are no names.
_NO_TRIGGER = rb"(?![^ \t\n]*\.rpz-(?:ip|client-ip|nsdname|nsip)[ \t])"
_CNAME = rb"%b[ \t]+(?:[0-9]{1,10}[ \t]+)?(?:in[ \t]+)?cname[ \t]+\.%b" % (_NAME, _END)
_POLICY = regex(b"^" + _NO_TRIGGER + _CNAME, MULTILINE)
_POLICY_BELOW = regex(rb"^\*\." + _NO_TRIGGER + _CNAME, MULTILINE)

_ONE_NAME = regex(_NAME)
_TOP_NAME = regex(rb"(?!-)[a-z0-9_-]{1,63}")
_ADBLOCK = regex(rb"(@@)?\|\|([^\s^$/|*]+)\^\|?(?:\$(?:important|all|,)*)?")
_NULL_ADDRESS = regex(rb"0\.0\.0\.0|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|::[01]?|0(?::0){7}|fe80::1%lo0")
_ADDRESS = regex(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f:]*:[0-9a-f:.]*(?:%[a-z0-9]+)?")
_TRIGGERS = (b".rpz-ip", b".rpz-client-ip", b".rpz-nsdname", b".rpz-nsip")
_POLICIES = {
    b".": Action.NXDOMAIN,
    b"*.": Action.NODATA,
    b"rpz-passthru.": Action.PASS,
    b"rpz-drop.": Action.REFUSE,
}
_OWN_NAME = b"localhost.localdomain"  # hosts files begin with it
_TYPES = frozenset(b"cname soa ns a aaaa txt mx srv ptr dname caa svcb https".split())


def _digest(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little", signed=True)


#: The hash of a name: 64 bits, signed. Python's own is keyed, at random, when the program starts; processes that are
#: forked share the key. Of a million names, one query in 10^13 would be taken for one of them.
name_hash: Callable[[bytes], int] = hash if sys.hash_info.width == 64 else _digest


class ListReader:
    """Reads one list."""

    def __init__(self, max_names: int, is_suffix: IsSuffix, is_over: Callable[[], bool] = lambda: False) -> None:
        """Create it. `is_over` says that nobody waits for the list any more."""
        self._max_names = max_names
        self._is_suffix = is_suffix
        self._is_over = is_over
        self.hashes: dict[Kind, array[int]] = {}
        self.count = 0
        self.broad: list[str] = []  # the first names that were left out, as they are registries'
        self.broad_count = 0
        self.unread: list[str] = []  # the first lines that are not understood
        self.unread_count = 0
        # of a response policy zone
        self._origin = b""
        self._owner = b""
        self._is_in_parentheses = False

    def read(self, data: bytes) -> None:
        """Read the list. Raises: ValueError with a message for the operator; InterruptedError if `is_over`."""
        if data[:2] == b"\x1f\x8b" or data[:4] in (b"PK\3\4", b"\xfd7zX", b"\x28\xb5\x2f\xfd"):
            raise ValueError("it is compressed: unpack it, or name a list that is not")
        if b"\0" in data:
            raise ValueError("it is not text: it has zero bytes")
        position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
        while position < len(data):
            if self._is_over():
                raise InterruptedError
            end = position + MAX_LINE_BYTES
            if end < len(data):
                end = data.rfind(b"\n", position, end) + 1
                if not end:
                    raise ValueError(f"line {_line_at(data, position)} is longer than {MAX_LINE_BYTES} bytes")
            self._read_block(data[position:end].lower(), lambda start=position: _line_at(data, start))  # type: ignore[misc]
            position = end
        if not self.count:
            reason = f": {self.unread[0]}" if self.unread else ""
            raise ValueError(f"it has no names to block{reason}")
        self._check_understood(0)

    def remarks(self) -> list[str]:
        """Return what the operator should know of the list."""
        found = []
        if self.broad_count:
            names = ", ".join(self.broad) + (" and others" if self.broad_count > len(self.broad) else "")
            found.append(f"left out is what would block too much: {names}; to block it, name it in 'block'")
        if self.unread_count:
            more = f" and {self.unread_count - 1} more" if self.unread_count > 1 else ""
            found.append(f"{self.unread[0]}{more}")
        return found

    def _read_block(self, block: bytes, first_line: Callable[[], int]) -> None:
        rest = _COMMENT.sub(b"", block) if any(mark in block for mark in (b"#", b"!", b";", b"[")) else block
        if b" cname" in rest or b"\tcname" in rest:
            rest = self._take(rest, _POLICY_BELOW, Action.NXDOMAIN, Extent.BELOW)
            rest = self._take(rest, _POLICY, Action.NXDOMAIN, Extent.SELF)
        else:
            rest = self._take(rest, _HOST, Action.BLOCK, Extent.SELF)
            rest = self._take(rest, _DOMAIN, Action.BLOCK, Extent.TREE)
            rest = self._take(rest, _RULE, Action.BLOCK, Extent.TREE)
        if not rest.isspace():
            for number, line in enumerate(rest.split(b"\n")):
                if (line and not line.isspace()) and not self._read_line(line):
                    self.unread_count += 1
                    if len(self.unread) < MAX_SHOWN:
                        text = line.strip().decode("utf-8", "replace")
                        self.unread.append(f"line {first_line() + number} is not understood: {clip(text)}")
        self._check_understood(_PATIENCE)

    def _check_understood(self, patience: int) -> None:
        if self.unread_count > patience and self.unread_count > 9 * self.count:
            raise ValueError(f"it is not a list of names: {self.unread[0]}")

    def _take(self, text: bytes, form: Pattern[bytes], action: Action, extent: Extent) -> bytes:
        """Take the names of all lines of a form; return the text without these lines, but for their ends."""
        pieces = form.split(text)  # what is between the lines of this form, and the names in them, in turn
        if len(pieces) > 1:
            self._add(pieces[1::2], action, extent)
            return b"".join(pieces[::2])
        return text

    def _add(self, names: list[bytes], action: Action, extent: Extent) -> None:
        if max(map(len, names)) > MAX_NAME_CHARACTERS:
            names = [name for name in names if len(name) <= MAX_NAME_CHARACTERS]
        if extent is Extent.SELF and _OWN_NAME in names:
            names = [name for name in names if name != _OWN_NAME]
        elif extent is not Extent.SELF and (broad := set(filter(self._is_suffix, names))):
            self.broad_count += len(broad)
            self.broad += sorted([name.decode() for name in broad])[: MAX_SHOWN - len(self.broad)]
            names = [name for name in names if name not in broad]
        self.hashes.setdefault((action, extent), array("q")).extend(map(name_hash, names))
        self.count += len(names)
        if self.count > self._max_names:
            raise ValueError(f"it has more than {self._max_names} names (max_names)")

    # ── other lines ──

    def _read_line(self, line: bytes) -> bool:
        """Read one line; return whether it is understood."""
        if self._is_in_parentheses:
            self._is_in_parentheses = b")" not in line
            return True
        text = line.strip()
        if match := _ADBLOCK.fullmatch(text):
            action = Action.EXCEPT if match[1] else Action.BLOCK
            return self._add_one(match[2], action, Extent.TREE)
        words = _uncommented(text).split()
        if not words:
            return True
        first = words[0]
        if _ADDRESS.fullmatch(first) and len(words) > 1 and not any(b"." in word for word in words[1:]):
            return True  # a name of this machine or network, with which hosts files begin
        if _NULL_ADDRESS.fullmatch(first) and len(words) > 1:
            words = text.partition(b"#")[0].split()  # in a hosts file it needs no blank before it
            return sum([self._add_host(word) for word in words[1:]]) == len(words) - 1
        if len(words) == 1:
            if first.startswith((b"$", b"@", b"|", b"/", b"<")) or _ADDRESS.fullmatch(first):
                return False
            return self._add_one(first.removeprefix(b"*." if first[:1] == b"*" else b"."), Action.BLOCK, Extent.TREE)
        return self._read_record(line, words)

    def _add_host(self, word: bytes) -> bool:
        """Add a name of a hosts file. Those of this machine, which hosts files begin with, are no names to block."""
        if b"." not in word or _ADDRESS.fullmatch(word):
            return True
        return self._add_one(word, Action.BLOCK, Extent.SELF)

    def _add_one(self, word: bytes, action: Action, extent: Extent) -> bool:
        name = _name(word)
        if name is None:
            return False
        self._add([name], action, extent)
        return True

    def _read_record(self, line: bytes, words: list[bytes]) -> bool:
        """Read a line of a response policy zone."""
        if words[0] == b"$origin":
            self._origin = words[1].removesuffix(b".")
            return True
        if words[0] == b"$ttl":
            return True
        if line[:1] in (b" ", b"\t"):
            words.insert(0, self._owner)
        self._owner, fields = words[0], words[1:]
        while fields and (fields[0].isdigit() or fields[0] == b"in"):
            fields.pop(0)
        if len(fields) < 2 or fields[0] not in _TYPES:
            return False
        if fields[0] == b"soa":
            self._is_in_parentheses = b"(" in line and b")" not in line
            if self._owner.endswith(b"."):
                self._origin = self._owner.removesuffix(b".")
            return True
        owner = self._owner
        if owner.endswith(b"."):
            owner = owner.removesuffix(b".")
            if self._origin:
                if owner != self._origin and not owner.endswith(b"." + self._origin):
                    return False
                owner = owner[: -len(self._origin) - 1] if owner != self._origin else b"@"
        if owner == b"@":
            return True
        action = _POLICIES.get(fields[1]) if fields[0] == b"cname" and len(fields) == 2 else None
        if action is None or owner.endswith(_TRIGGERS):
            return False
        if owner.startswith(b"*."):
            return self._add_one(owner[2:], action, Extent.BELOW)
        return self._add_one(owner, action, Extent.SELF)


def _name(word: bytes) -> bytes | None:
    """Return a name as it is kept: in lower case and ASCII, without a dot at its end; None if it is none."""
    name = word.removesuffix(b".")
    if not name.isascii():
        try:
            name = to_ascii(name.decode("utf-8")).lower().encode("ascii")
        except ValueError:
            return None
    if len(name) > MAX_NAME_CHARACTERS or not (_ONE_NAME.fullmatch(name) or _TOP_NAME.fullmatch(name)):
        return None
    return name


def _uncommented(text: bytes) -> bytes:
    """Return a line without the comment at its end."""
    for mark in (b" #", b"\t#", b" ;", b"\t;"):
        text = text.partition(mark)[0]
    return text


def _line_at(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1
