"""Service parameters of SVCB and HTTPS records (RFC 9460 §2.2, §7).

Wire form: for each parameter, in ascending order of keys, key (2 bytes), length (2), value.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import pack

from npserver.errors import clip

_KEYS = {
    "mandatory": 0,
    "alpn": 1,
    "no-default-alpn": 2,
    "port": 3,
    "ipv4hint": 4,
    "ech": 5,
    "ipv6hint": 6,
    "dohpath": 7,
}


def parse_params(params: Mapping[str, object]) -> bytes:
    """Return parameters such as `{"alpn": ["h2", "h3"], "port": 8443}` in wire form. Raises: ValueError."""
    found: dict[int, bytes] = {}
    for name, value in params.items():
        key = _key(name)
        if key in found:
            raise ValueError(f"{name} is given twice")
        parser = _PARSERS.get(key, _opaque)
        try:
            found[key] = parser(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    _check(found)
    return b"".join([pack("!HH", key, len(found[key])) + found[key] for key in sorted(found)])


def _check(found: Mapping[int, bytes]) -> None:
    mandatory = found.get(0, b"")
    for start in range(0, len(mandatory), 2):
        key = int.from_bytes(mandatory[start : start + 2], "big")
        if key == 0 or key not in found:
            raise ValueError(f"mandatory names key{key}, which is not among the parameters (RFC 9460 §8)")
    if 2 in found and 1 not in found:
        raise ValueError("no-default-alpn requires alpn (RFC 9460 §7.1.1)")


def _key(name: str) -> int:
    if name in _KEYS:
        return _KEYS[name]
    if name.startswith("key") and name[3:].isdigit() and int(name[3:]) < 65_535:
        return int(name[3:])
    raise ValueError(f"unknown parameter {clip(name)}, expected {', '.join(_KEYS)} or key65333")


def _items(value: object) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError(f"expected text or a list of text, got {clip(value)}")
    return items


def _mandatory(value: object) -> bytes:
    keys = sorted({_key(item) for item in _items(value)})
    return b"".join([pack("!H", key) for key in keys])


def _alpn(value: object) -> bytes:
    raw = [item.encode() for item in _items(value)]
    if any(len(one) > 255 for one in raw):
        raise ValueError("a protocol name is longer than 255 bytes")
    return b"".join([bytes([len(one)]) + one for one in raw])


def _flag(value: object) -> bytes:
    if value is not True:
        raise ValueError(f"expected true, got {clip(value)}")
    return b""


def _port(value: object) -> bytes:
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65_535:
        raise ValueError(f"expected a port, got {clip(value)}")
    return pack("!H", number)


def _ipv4(value: object) -> bytes:
    try:
        return b"".join([IPv4Address(item).packed for item in _items(value)])
    except AddressValueError as error:
        raise ValueError(str(error)) from None


def _ipv6(value: object) -> bytes:
    try:
        return b"".join([IPv6Address(item).packed for item in _items(value)])
    except AddressValueError as error:
        raise ValueError(str(error)) from None


def _base64(value: object) -> bytes:
    try:
        return binascii.a2b_base64(value if isinstance(value, str) else "?", strict_mode=True)
    except binascii.Error:
        raise ValueError(f"expected base64, got {clip(value)}") from None


def _opaque(value: object) -> bytes:
    if value is True:
        return b""
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {clip(value)}")
    return value.encode()


_PARSERS: dict[int, Callable[[object], bytes]] = {
    0: _mandatory,
    1: _alpn,
    2: _flag,
    3: _port,
    4: _ipv4,
    5: _base64,
    6: _ipv6,
}
