"""Files that the config names, such as certificates: found and read once, so that other processes can be supplied.

So are the secrets of TSIG keys, which the config gives itself or by a file: for `dns_keys` and `acme.dns_update`.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message.tsig import ALGORITHMS
from npserver.dns.message.tsig_file import KeyText, parse_file, parse_secret
from npserver.errors import clip
from npserver.tls.certificates import explain
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation

DEFAULT_ALGORITHM = "hmac-sha256"


def named_file(compilation: Compilation, path: Path, name: str) -> str | None:
    """Return the absolute path of a file; None, with an error in the report, if it cannot be read."""
    document, files = compilation.document, CERTIFICATES.of(compilation.context).files
    # A process without permission to read the file may have been supplied with it, by the path that the master found.
    beside = os.path.abspath(os.path.join(document.directory, name))
    file = beside if files.is_supplied(beside) else os.path.abspath(document.resolve(name))
    try:
        files.read(file)
        return file
    except OSError as error:
        shown = clip(name)
        if path[-1] == "key_passphrase":
            shown = "the file (not shown: if this is the passphrase itself, write it into a file)"
        elif "-----BEGIN" in name:
            shown = "this: expected the name of a file, got the content of one"
        compilation.report.error(path, f"cannot read {shown}: {explain(error)}")
        return None


# ── keys that sign DNS messages ──


class ReadSecret(Struct, frozen=True):
    """A secret, with what its file says of the key."""

    where: Path  # of the config key that it is from
    secret: bytes
    text: KeyText

    def __repr__(self) -> str:
        return f"<ReadSecret {self.text!r}>"  # without the secret


def read_secret(
    compilation: Compilation, path: Path, inline: tuple[str, str], file: tuple[str, str | None], missing: str
) -> ReadSecret | None:
    """Return the secret of a key; None, with an error in the report, if it cannot be used.

    Args:
        path: of the section.
        inline: the name of the key with the secret, and its value.
        file: that of the key with a file's name, and its value.
        missing: what to say if there is neither.
    """
    report = compilation.report
    if bool(inline[1]) == (file[1] is not None):
        both = f"both {inline[0]!r} and {file[0]!r} are given: leave one of them out"
        report.error(path, both if inline[1] else missing)
        return None
    where, text = (*path, inline[0]), KeyText(inline[1])
    try:
        if file[1] is not None:
            where = (*path, file[0])
            found = named_file(compilation, where, file[1])
            if found is None:
                return None
            _check_mode(compilation, where, file[1], found)
            text = parse_file(CERTIFICATES.of(compilation.context).files.read(found).decode("utf-8", "replace"))
        return ReadSecret(where, parse_secret(text.secret), text)
    except ValueError as error:
        report.error(where, f"'{where[-1]}': {error}")
        return None


def _check_mode(compilation: Compilation, where: Path, name: str, file: str) -> None:
    """Warn of a file that all users of the machine can read: whoever has the secret can do what the key may."""
    try:
        mode = stat.S_IMODE(os.stat(file).st_mode)
    except OSError:  # the content was supplied
        return
    if mode & stat.S_IROTH:
        readable = f"{clip(name)} can be read by all users of this machine (mode {mode:04o})"
        compilation.report.warn(where, f"{readable}: chmod 600 {name}")


def is_supported(compilation: Compilation, where: Path, algorithm: str) -> bool:
    """Whether messages can be signed by an algorithm; if not, that is reported."""
    if algorithm not in ALGORITHMS:
        compilation.report.error(
            where, f"the algorithm {clip(algorithm)} is not supported: make a key with {DEFAULT_ALGORITHM}"
        )
    return algorithm in ALGORITHMS
