"""Compiles `dns_keys`: the keys that this server and others sign messages with (RFC 8945)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from npserver.dns.message.name import parse_owner
from npserver.dns.message.tsig import TsigKey
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.runtime.compilation import PerCompilation
from npserver.tls.named_file import DEFAULT_ALGORITHM, is_supported, read_secret

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.nameserver.config import DnsKey
    from npserver.runtime.compilation import Compilation

MIN_SECRET_BYTES = 16  # RFC 8945 §8: at least as long as the keyed hash would have, or hard to guess


def _compile(compilation: Compilation) -> Mapping[bytes, TsigKey]:
    found: dict[bytes, TsigKey] = {}
    for name, section in compilation.config.dns_keys.items():
        path: Path = ("dns_keys", name)
        try:
            wire = parse_owner(name).lower()
        except ValueError as error:
            compilation.report.error(path, f"the name of a key is a domain name: {error}")
            continue
        if wire in found:
            compilation.report.error(path, f"{clip(name)} is given twice")
        elif (key := _key(compilation, path, wire, section)) is not None:
            found[wire] = key
    return found


#: The keys of a config, by name in lower case.
DNS_KEYS = PerCompilation(_compile)


def find_key(compilation: Compilation, path: Path, name: str) -> TsigKey | None:
    """Return the key that a text of the config names; None, with an error in the report, if there is none."""
    keys, names = DNS_KEYS.of(compilation), compilation.config.dns_keys
    try:
        key = keys.get(parse_owner(name).lower())
    except ValueError:
        key = None
    if key is None and name not in names:  # else there is an error about it already
        close = get_close_matches(name, names, 1)
        hint = f", did you mean {close[0]!r}?" if close else "" if names else ' (no "dns_keys" are defined)'
        compilation.report.error(path, f"unknown key {clip(name)}{hint}")
    return key


def _key(compilation: Compilation, path: Path, name: bytes, section: DnsKey) -> TsigKey | None:
    report = compilation.report
    missing = "a key needs 'secret' or 'file'"
    read = read_secret(compilation, path, ("secret", section.secret), ("file", section.file), missing)
    if read is None:
        return None
    where, text = read.where, read.text
    if text.name and parse_name(text.name) != name:
        report.error(where, f"the key in the file is called {clip(text.name)}: both sides need the same name")
        return None
    algorithm = section.algorithm or text.algorithm or DEFAULT_ALGORITHM
    if text.algorithm and algorithm != text.algorithm:
        report.error((*path, "algorithm"), f"'algorithm' is {algorithm}, but 'file' says {clip(text.algorithm)}")
        return None
    if not is_supported(compilation, where, algorithm):
        return None
    if len(read.secret) < MIN_SECRET_BYTES:
        report.warn(where, f"the secret has {len(read.secret)} bytes, which can be guessed: make one by tsig-keygen")
    return TsigKey(name, read.secret, algorithm)


def parse_name(text: str) -> bytes | None:
    """Return the name of a key as it is sent, in lower case; None for what is no name."""
    try:
        return parse_owner(text).lower()
    except ValueError:
        return None
