"""Packages that are optional: what to say where one is missing. Used by the parts that need one."""

from __future__ import annotations

import re
import shlex
import sys


def needs(requirement: str) -> str:
    """Return `needs the package qh3: ...`, with the command that installs it into the environment that this runs in.

    `requirement`: as in pyproject.toml. The one file and the Debian package use no package of the system (`-S`).
    """
    name = re.match(r"[\w-]+", requirement)
    said = f"needs the package {name[0] if name else requirement}"
    if sys.flags.no_site:
        return f"{said}, which cannot be added to this npserver: take one that is installed by pip"
    return f"{said}: {shlex.quote(sys.executable)} -m pip install {shlex.quote(requirement)}"
