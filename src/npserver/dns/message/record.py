"""Record data: parsed from the config to wire form and checked (RFC 1035 §3.3, and the RFC of each type).

A value is text in the format of zone files, or an object with named fields. Names keep their spelling. `parse_data`
is called by `dns.zone.compile` for each value. All errors are ValueErrors with a message for the operator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv6Address
from struct import error as struct_error
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.name import parse_host
from npserver.errors import clip
from npserver.regex import regex

MAX_TTL = 2**31 - 1  # RFC 2181 §8
MAX_STRING_BYTES = 255  # of a character-string (RFC 1035 §3.3)
MAX_DATA_BYTES = 65_535 - 1024  # of one record, so that it fits a message with the question

#: Types whose data ends in a name that may be compressed (RFC 3597 §4), with the offset of the name in the data.
COMPRESSIBLE = {codes.NS: 0, codes.CNAME: 0, codes.PTR: 0, codes.MX: 2}
#: Types whose target's addresses belong in the additional section (RFC 1035 §3.3, RFC 2782, RFC 9460 §4.1), with the
#: offset of the target's name.
ADDRESSED = {codes.NS: 0, codes.MX: 2, codes.SRV: 6, codes.SVCB: 2, codes.HTTPS: 2}

#: Given as zone files have them.
_RARE_TYPES = (
    codes.LOC, codes.NAPTR, codes.DS, codes.SSHFP, codes.DHCID, codes.TLSA, codes.OPENPGPKEY, codes.URI
)  # fmt: skip

_TTL = regex(r"(\d+)([smhdw]?)")
_TTL_FACTORS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_GENERIC_TYPE = regex(r"TYPE([0-9]{1,5})")
_OCTETS = {str(number): number for number in range(256)}
_QUOTED = regex(r'"([^"]*)"')
_WORD = regex(r'(?:[^\s"]|"[^"]*")+')

Value = object
Fields = Mapping[str, object]


def parse_type(text: str) -> int:
    """Return the number of a record type: one of `PARSED_TYPES`, or `TYPE65280` (RFC 3597 §5). Raises: ValueError."""
    if (number := PARSED_TYPES.get(text.upper())) is not None:
        return number
    if match := _GENERIC_TYPE.fullmatch(text.upper()):
        number = int(match[1])
        if number > 65_535:
            raise ValueError(f"expected a record type up to TYPE65535, got {clip(text)}")
        if number in (0, codes.OPT) or 128 <= number <= 255:  # RFC 6895 §3.1: meta-types and question types
            raise ValueError(f"{text} is not a type of stored records")
        return number
    raise ValueError(f"unknown record type {clip(text)}")


def parse_ttl(value: object) -> int:
    """Return a TTL in seconds, given in seconds or as text such as `5m`. Raises: ValueError."""
    if isinstance(value, str) and (match := _TTL.fullmatch(value)):
        value = int(match[1]) * _TTL_FACTORS[match[2]]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TTL:
        return value
    raise ValueError(f'expected a TTL from 0 to {MAX_TTL} seconds or such as "5m", got {clip(value)}')


def parse_data(rtype: int, value: Value) -> bytes:
    """Return the data of one record in wire form. Raises: ValueError."""
    if isinstance(value, str) and value.startswith("\\#"):
        return _generic(value)
    parser = _PARSERS.get(rtype)
    if parser is None:
        raise ValueError(f'expected data as "\\\\# 4 0A000001" (RFC 3597), got {clip(value)}')
    data = parser(value)
    if len(data) > MAX_DATA_BYTES:
        raise ValueError(f"expected at most {MAX_DATA_BYTES} bytes of data, got {len(data)}")
    return data


def parse_ipv4(value: Value) -> bytes:
    """Return the 4 bytes of an address, given as text or as {"address": ...}. Raises: ValueError."""
    text = value if isinstance(value, str) else _only(value, "address")
    if isinstance(text, str):
        parts = text.split(".")
        if len(parts) == 4:
            try:
                return bytes([_OCTETS[part] for part in parts])
            except KeyError:
                pass
    raise ValueError(f"expected an IPv4 address, got {clip(text)}")


def parse_ipv6(value: Value) -> bytes:
    """Return the 16 bytes of an address, given as text or as {"address": ...}. Raises: ValueError."""
    text = value if isinstance(value, str) else _only(value, "address")
    if isinstance(text, str) and "%" not in text:
        try:
            return IPv6Address(text).packed
        except AddressValueError:
            pass
    raise ValueError(f"expected an IPv6 address, got {clip(text)}")


# ── the types ──


def _host(value: Value) -> bytes:
    wire = parse_host(value if isinstance(value, str) else _only(value, "host"))
    if wire == b"\0":
        raise ValueError("expected a host name, got '.'")
    return wire


def _mx(value: Value) -> bytes:
    if isinstance(value, str):
        priority, _, host = value.strip().rpartition(" ")
        value = {"priority": _decimal(priority.strip(), "priority") if priority else 10, "host": host}
    fields = _object(value, "host", "priority")
    return _uint16(fields, "priority", 10) + parse_host(fields.get("host"))


def _srv(value: Value) -> bytes:
    if isinstance(value, str):
        names = ("priority", "weight", "port", "target")
        parts = value.split()
        if len(parts) != 4:
            raise ValueError(f'expected "priority weight port target", got {clip(value)}')
        numbers = [_decimal(part, name) for name, part in zip(names, parts[:3], strict=False)]
        value = dict(zip(names, [*numbers, parts[3]], strict=True))
    fields = _object(value, "target", "port", "priority", "weight")
    return (
        _uint16(fields, "priority", 0)
        + _uint16(fields, "weight", 0)
        + _uint16(fields, "port", None)
        + parse_host(fields.get("target"))
    )


def _txt(value: Value) -> bytes:
    text = value if isinstance(value, str) else _only(value, "text")
    texts = text if isinstance(text, list) else [text]
    data = b""
    for one in texts:
        if not isinstance(one, str):
            raise ValueError(f"expected text, got {clip(one)}")
        raw = one.encode()
        for start in range(0, len(raw) or 1, MAX_STRING_BYTES):
            piece = raw[start : start + MAX_STRING_BYTES]
            data += bytes([len(piece)]) + piece
    if not data:
        raise ValueError("expected text, got an empty list")
    return data


def quotes_in(value: Value) -> str | None:
    """Return advice on the text of TXT or CAA that was pasted from a zone file with its quotes; None if it has none."""
    text = value.get("text", value.get("value")) if isinstance(value, dict) else value
    for one in text if isinstance(text, list) else [text]:
        if isinstance(one, str) and len(one) > 1 and one[0] == one[-1] == '"':
            strings = _QUOTED.findall(one)
            wanted = {"text": strings} if len(strings) > 1 else one[1:-1]
            return f"the quotes are part of the text; without them it is {json.dumps(wanted, ensure_ascii=False)[:200]}"
    return None


def _soa(value: Value) -> bytes:
    numbers = ("serial", "refresh", "retry", "expire", "minimum")
    if isinstance(value, str):
        parts = value.split()
        if len(parts) != 7:
            raise ValueError(f'expected "mname rname serial refresh retry expire minimum", got {clip(value)}')
        read = [_decimal(part, name) for name, part in zip(numbers, parts[2:], strict=True)]
        value = dict(zip(("mname", "rname", *numbers), [*parts[:2], *read], strict=True))
    fields = _object(value, "mname", "rname", *numbers)
    defaults = {"refresh": 3600, "retry": 600, "expire": 604_800, "minimum": 300}
    data = parse_host(fields.get("mname")) + parse_host(_mailbox(fields.get("rname")))
    for name in numbers:
        number = fields.get(name, defaults.get(name))
        if name != "serial" and number is not None:
            number = parse_ttl(number)
        data += _uint(number, name, 32)
    return data


def _mailbox(value: Value) -> Value:
    """Return a mailbox such as `hostmaster@example.com` as a domain name (RFC 1035 §8); any other value unchanged."""
    if not isinstance(value, str) or "@" not in value:
        return value
    local, _, domain = value.partition("@")
    if "." in local:
        raise ValueError(f"the part of {clip(value)} before the @ holds a dot, which is not supported")
    return f"{local}.{domain}"


def _caa(value: Value) -> bytes:
    """Return CAA data (RFC 8659 §4.1): flags (1 byte), length of the tag (1), tag, value."""
    if isinstance(value, str):
        match = re.fullmatch(r'(\d+)\s+(\w+)\s+(?:"([^"]*)"|(\S+))', value.strip())
        if match is None:
            raise ValueError(f"expected 'flags tag \"value\"', got {clip(value)}")
        value = {"flags": int(match[1]), "tag": match[2], "value": match[3] if match[3] is not None else match[4]}
    fields = _object(value, "tag", "value", "flags")
    tag, text = fields.get("tag"), fields.get("value")
    if not isinstance(tag, str) or not re.fullmatch(r"[A-Za-z0-9]{1,15}", tag):
        raise ValueError(f"expected a tag such as issue, issuewild or iodef, got {clip(tag)}")
    if not isinstance(text, str):
        raise ValueError(f"expected text as the value, got {clip(text)}")
    return _uint(fields.get("flags", 0), "flags", 8) + bytes([len(tag)]) + tag.lower().encode() + text.encode()


def _svcb(value: Value) -> bytes:
    from npserver.dns.message.svcb import parse_params  # rarely used

    if isinstance(value, str):
        words = _WORD.findall(value)
        if len(words) < 2:
            raise ValueError(f'expected "priority target name=value ...", got {clip(value)}')
        pairs = [word.partition("=") for word in words[2:]]
        params: dict[str, object] = {name: text.strip('"') if sign else True for name, sign, text in pairs}
        value = {"priority": _decimal(words[0], "priority"), "target": words[1], "params": params}
    fields = _object(value, "target", "priority", "params")
    priority = _uint16(fields, "priority", 1)
    given = fields.get("params", {})
    if not isinstance(given, dict):
        raise ValueError(f"expected an object as params, got {clip(given)}")
    if given and priority == b"\0\0":
        raise ValueError("an alias (priority 0) has no params (RFC 9460 §2.4.2)")
    return priority + parse_host(fields.get("target")) + parse_params(given)


def _by_library(rtype: int) -> Callable[[Value], bytes]:
    """Return the parser of a type that is rare, and whose data is given as zone files have it."""

    def parse(value: Value) -> bytes:
        if not isinstance(value, str):
            raise ValueError(f"expected text as in a zone file, got {clip(value)}")
        import dns.exception  # few configs have such records
        import dns.name
        import dns.rdata

        try:
            return bytes(
                dns.rdata.from_text("IN", codes.TYPE_NAMES[rtype], value, dns.name.root, False).to_wire() or b""
            )
        except struct_error:
            raise ValueError(f"a number is too large, got {clip(value)}") from None
        except (dns.exception.DNSException, ValueError, OverflowError) as error:
            raise ValueError(f"{error or type(error).__name__}, got {clip(value)}") from None

    return parse


def _generic(text: str) -> bytes:
    r"""Return the data in generic notation, `\# length hexadecimal` (RFC 3597 §5)."""
    parts = text.split()
    length = _decimal(parts[1], "length") if len(parts) > 1 else -1
    try:
        data = bytes.fromhex("".join(parts[2:]))
    except ValueError:
        raise ValueError(f"expected hexadecimal digits, got {clip(text)}") from None
    if parts[0] != "\\#" or len(data) != length:
        raise ValueError(f"expected \\# and {len(data)} as the length, got {clip(text)}")
    return data


_PARSERS: dict[int, Callable[[Value], bytes]] = {
    codes.A: parse_ipv4,
    codes.AAAA: parse_ipv6,
    codes.CNAME: _host,
    codes.DNAME: _host,
    codes.NS: _host,
    codes.PTR: _host,
    codes.MX: _mx,
    codes.TXT: _txt,
    codes.SRV: _srv,
    codes.SOA: _soa,
    codes.CAA: _caa,
    codes.SVCB: _svcb,
    codes.HTTPS: _svcb,
    **{rtype: _by_library(rtype) for rtype in _RARE_TYPES},
}
#: The types that the config can name, by name.
PARSED_TYPES = {codes.TYPE_NAMES[number]: number for number in _PARSERS}


# ── fields ──


def _object(value: Value, *names: str) -> Fields:
    if not isinstance(value, dict):
        raise ValueError(f"expected text or an object with {', '.join(names)}, got {clip(value)}")
    for name in value:
        if name not in names:
            raise ValueError(f"unknown key {clip(name)}, expected {', '.join(names)}")
    if names[0] not in value:
        raise ValueError(f"{names[0]} is missing")
    return value


def _only(value: Value, name: str) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"expected text, got {clip(value)}")
    return _object(value, name)[name]


def _uint16(fields: Fields, name: str, default: int | None) -> bytes:
    if default is None and name not in fields:
        raise ValueError(f"{name} is missing")
    return _uint(fields.get(name, default), name, 16)


def _uint(value: object, name: str, bits: int) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError(f"expected {name} from 0 to {(1 << bits) - 1}, got {clip(value)}")
    return pack("!Q", value)[-bits // 8 :]


def _decimal(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ValueError(f"expected a number as {name}, got {clip(text)}")
    return int(text)
