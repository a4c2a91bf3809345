"""`npserver hash-password`: the hash of a password, as `basic_auth` takes it."""

from __future__ import annotations

import getpass
import os
import sys

from npserver.web.middleware.basic_auth.passwords import SALT_BYTES, hash_password

USAGE = """\
usage: npserver hash-password

Asks for a password, or reads it from the standard input's first line, and prints its hash for "basic_auth":

  "basic_auth": {"users": {"alice": "HASH"}}
"""


def main(words: list[str]) -> int:
    """Print the hash of a password. Gives the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    if words:
        print(f"npserver hash-password: takes no arguments: others could read the password there\n{USAGE}", end="",
              file=sys.stderr)  # fmt: skip
        return 2
    password = _ask()
    if password is None:
        return 1
    print(hash_password(password, os.urandom(SALT_BYTES)))
    return 0


def _ask() -> str | None:
    """The password; None, and why on stderr, if there is none."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            print("npserver hash-password: the two differ", file=sys.stderr)
            return None
    if not password:
        print("npserver hash-password: an empty password protects nothing", file=sys.stderr)
        return None
    return password
