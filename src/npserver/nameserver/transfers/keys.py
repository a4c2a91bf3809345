"""Compiles `dns_keys`: the keys that this server and others sign messages with (RFC 8945)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from npserver.dns.message.name import parse_owner
from npserver.dns.message.tsig import ALGORITHMS, TsigKey
from npserver.dns.message.tsig_file import KeyText, parse_file, parse_secret
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.runtime.compilation import PerCompilation
from npserver.tls.named_file import named_file
from npserver.tls.store import CERTIFICATES

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
    if bool(section.secret) == (section.file is not None):
        both = "both 'secret' and 'file' are given: leave one of them out"
        report.error(path, both if section.secret else "a key needs 'secret' or 'file'")
        return None
    where, text = (*path, "secret"), KeyText(section.secret)
    try:
        if section.file is not None:
            where = (*path, "file")
            file = named_file(compilation, where, section.file)
            if file is None:
                return None
            _check_mode(compilation, where, section.file, file)
            text = parse_file(CERTIFICATES.of(compilation.context).files.read(file).decode("utf-8", "replace"))
        secret = parse_secret(text.secret)
    except ValueError as error:
        report.error(where, f"'{where[-1]}': {error}")
        return None
    if text.name and parse_name(text.name) != name:
        report.error(where, f"the key in the file is called {clip(text.name)}: both sides need the same name")
        return None
    algorithm = section.algorithm or text.algorithm or "hmac-sha256"
    if text.algorithm and algorithm != text.algorithm:
        report.error((*path, "algorithm"), f"'algorithm' is {algorithm}, but 'file' says {clip(text.algorithm)}")
        return None
    if algorithm not in ALGORITHMS:
        report.error(where, f"the algorithm {clip(algorithm)} is not supported: make a key with hmac-sha256")
        return None
    if len(secret) < MIN_SECRET_BYTES:
        report.warn(where, f"the secret has {len(secret)} bytes, which can be guessed: make one by tsig-keygen")
    return TsigKey(name, secret, algorithm)


def _check_mode(compilation: Compilation, where: Path, name: str, file: str) -> None:
    """Warn of a file that all users of the machine can read: whoever has the secret can do what the key may."""
    try:
        mode = stat.S_IMODE(os.stat(file).st_mode)
    except OSError:  # the content was supplied
        return
    if mode & stat.S_IROTH:
        readable = f"{clip(name)} can be read by all users of this machine (mode {mode:04o})"
        compilation.report.warn(where, f"{readable}: chmod 600 {name}")


def parse_name(text: str) -> bytes | None:
    """Return the name of a key as it is sent, in lower case; None for what is no name."""
    try:
        return parse_owner(text).lower()
    except ValueError:
        return None
