"""`npserver hash-password`: hash a password for `basic_auth`."""

from __future__ import annotations

import getpass
import os
import sys

from npserver.web.middleware.basic_auth.passwords import SALT_BYTES, hash_password

USAGE = """\
usage: npserver hash-password

Ask for a password, or read it from the first line of standard input, and print its hash for "basic_auth":

  "basic_auth": {"users": {"alice": "HASH"}}
"""


def main(words: list[str]) -> int:
    """Print the hash of a password. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    if words:
        print("npserver hash-password: takes no arguments: other users could read the password there", file=sys.stderr)
        print(USAGE, end="", file=sys.stderr)
        return 2
    password = _ask()
    if password is None:
        return 1
    print(hash_password(password, os.urandom(SALT_BYTES)))
    return 0


def _ask() -> str | None:
    """Return the password. Without a usable one, print the reason to stderr and return None."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            print("npserver hash-password: the two passwords differ", file=sys.stderr)
            return None
    if not password:
        print("npserver hash-password: the password must not be empty", file=sys.stderr)
        return None
    return password
