"""`npserver import FILE [-o FILE]`: write our config from one of nginx."""

from __future__ import annotations

import os
import sys

from npserver.errors import clip

USAGE = """\
usage: npserver import NGINX.CONF [-o FILE]

Read a config of nginx with all that it includes, and print the same as a config of npserver. A comment in it names each
directive that has no counterpart, with its file and line. What changes who gets what is said on stderr, too:
a location that cannot be imported is answered with 501. Try the result with npserver check.

  -o FILE   write to this file, which must not exist, instead of standard output

It takes the package crossplane; a message says how to install it where it is missing.
"""


def main(words: list[str]) -> int:
    """Import the config named by `words`. Return the exit status: 1 if the file cannot be written, 2 if not read."""
    from npserver.importing.directives import MissingPackage
    from npserver.importing.nginx import import_nginx

    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    match words:
        case [file] | [file, "-o", _] | ["-o", _, file] if not file.startswith("-"):
            target = words[words.index("-o") + 1] if "-o" in words else None
        case _:
            print(USAGE, end="", file=sys.stderr)
            return 2
    try:
        imported = import_nginx(file)
    except MissingPackage as error:
        print(f"npserver: {error}", file=sys.stderr)
        return 2
    if target is None:
        print(imported.text, end="")
    else:
        try:
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                out.write(imported.text)
        except OSError as error:
            print(f"npserver import: cannot write {clip(target)}: {error.strerror}", file=sys.stderr)
            return 1
    for loss in imported.losses:
        print(f"warning: {''.join(one if one.isprintable() else '?' for one in loss)}", file=sys.stderr)
    return 0
