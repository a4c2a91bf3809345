"""Other programs that tests run. A test that needs one skips where it is absent, and says what to install.

`.ci/run` installs every package of `PACKAGES`; there a skip is a failure (`tests/conftest.py`).
"""

from __future__ import annotations

import os
import shutil

import pytest

#: Program to the Debian package that has it.
PACKAGES = {
    "chromium": "chromium",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "h2load": "nghttp2-client",
    "kdig": "knot-dnsutils",
    "nc": "netcat-openbsd",
    "nghttp": "nghttp2-client",
    "nsd": "nsd",
    "openssl": "openssl",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "socat": "socat",
}
#: Other names that a program goes by.
NAMES = {"chromium": ("chromium", "chromium-browser", "google-chrome")}


def find(program: str) -> str | None:
    """Return the path of a program of `PACKAGES`, also of one that only root has in its PATH."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    for name in NAMES.get(program, (program,)):
        if found := shutil.which(name, path=path):
            return found
    return None


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of tests that run these programs: `@needs("curl", "dig")`, or as a module's `pytestmark`."""
    absent = [program for program in programs if find(program) is None]
    packages = " ".join(dict.fromkeys(PACKAGES[program] for program in programs if program in absent))
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)} (apt-get install {packages})")
