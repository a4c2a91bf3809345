"""Programs and names that tests need. A test skips where one is absent, and says what to install.

`.ci/run` installs every package of `PACKAGES`; there a skip is a failure (`tests/conftest.py`).
"""

from __future__ import annotations

import os
import shutil
import socket

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
    "nginx": "nginx",
    "nsd": "nsd",
    "openssl": "openssl",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "socat": "socat",
    "systemd-analyze": "systemd",
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


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        return False
    return True


#: The mark of tests that reach a server by its name. In a fresh chroot there may be no `/etc/hosts`.
needs_localhost = pytest.mark.skipif(
    not _resolves("localhost"), reason="needs the name localhost (add `127.0.0.1 localhost` to /etc/hosts)"
)
