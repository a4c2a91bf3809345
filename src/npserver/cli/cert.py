"""`npserver cert`: create a certificate for testing, or print the root of the local authority (`cli.root`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from npserver.errors import clip, reason_of
from npserver.tls.authority import (
    CLOCK_SKEW,
    ROOT_LIFE,
    Authority,
    issue,
    key_pem,
    load_authority,
    make_authority,
    pem,
)

USAGE = """\
usage: npserver cert [NAME...] [-ca] [-out DIR]
       npserver cert -root [local | other] [-config FILE | -store DIR]

Create testsite.crt and testsite.key, a certificate for testing that servers and clients can use.

  NAME       host name or IP address that the certificate is for (default: localhost 127.0.0.1 ::1)
  -ca        sign it with a local certificate authority, ca.crt and ca.key, which is created on first use;
             without -ca the certificate is self-signed
  -out DIR   directory to write the files to (default: the working directory)

With -root, print the root of the local authority, which signs the certificates of "tls": "internal", and how each
system is told to trust it. The root goes to the standard output, all else to the standard error:

  npserver cert -root local > npserver-root.crt

  local         the root for local names only
  other         the root for all other names only, which exists if a config has asked for "internal" ones of such names
  -config FILE  the config whose store has the root (default: the store of a config that names none)
  -store DIR    the directory of the store
"""
DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1")
LIFE = timedelta(days=397)  # the longest that browsers accept


def main(words: list[str]) -> int:
    """Create a certificate. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    if "-root" in words or "--root" in words:
        from npserver.cli import root

        return root.main(words, USAGE)
    names: list[str] = []
    directory, wants_authority = Path(), False
    rest = iter(words)
    for word in rest:
        if word in ("-ca", "--ca"):
            wants_authority = True
        elif word in ("-out", "--out") and (value := next(rest, "")):
            directory = Path(value)
        elif word.startswith("-"):
            print(f"npserver cert: unknown or incomplete option {clip(word)}\n{USAGE}", end="", file=sys.stderr)
            return 2
        else:
            names.append(word)
    try:
        _make(names or list(DEFAULT_NAMES), directory, wants_authority=wants_authority)
    except (OSError, ValueError) as error:
        print(f"npserver cert: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def write_certificate(names: Sequence[str], cert: Path, key: Path, authority: Authority | None = None) -> datetime:
    """Write a certificate for `names` and its private key. Without an authority it is self-signed.

    Return the end of its validity. Raises: OSError; ValueError for a name that is not valid.
    """
    now = datetime.now(UTC)
    certificate, private = issue(names, authority, now - CLOCK_SKEW, now + LIFE, common_name=names[0], for_clients=True)
    _write(cert, pem(certificate), 0o644)
    _write(key, key_pem(private), 0o600)
    return certificate.not_valid_after_utc


def open_authority(cert: Path, key: Path) -> Authority:
    """Load an authority for testing, or create it if `cert` does not exist. Raises: OSError, ValueError."""
    if cert.exists():
        try:
            return load_authority(cert.read_bytes(), key.read_bytes())
        except ValueError as error:
            raise ValueError(f"{cert} with {key}: {error}: choose another directory with -out") from error
    now = datetime.now(UTC)
    made = make_authority("npserver test authority", now - CLOCK_SKEW, now + ROOT_LIFE, only_local=False)
    _write(cert, made.pem, 0o644)
    _write(key, made.key_pem, 0o600)
    return made


def _explain(error: Exception) -> str:
    file = getattr(error, "filename", None)
    return f"{file}: {reason_of(error)}" if file else reason_of(error)


def _make(names: list[str], directory: Path, *, wants_authority: bool) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    cert, key, ca = directory / "testsite.crt", directory / "testsite.key", directory / "ca.crt"
    authority = open_authority(ca, directory / "ca.key") if wants_authority else None
    until = write_certificate(names, cert, key, authority)
    signer = f"signed by {ca}" if authority else "self-signed"
    trusted = ca if authority else cert
    host = f"[{names[0]}]" if ":" in names[0] else names[0].replace("*.", "www.")
    print(f"{cert}, {key}: for {', '.join(names)}; {signer}; valid until {until:%Y-%m-%d}")
    print(f"serve:  npserver https://:8443 -cert {cert} -key {key}")
    print(f"try:    curl --cacert {trusted} https://{host}:8443/")
    if authority:
        print(f'mutual: "client_ca": "{ca}" in "tls", then  curl --cacert {ca} --cert {cert} --key {key} ...')
        print(f"trust:  add {ca} to the authorities of your browser or system; keep ca.key secret")
    else:
        print("        browsers show a warning: the certificate is not signed by an authority they trust")


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file atomically. It is never readable by more users than `mode` allows."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
    fresh.replace(file)
