"""Programs and names that tests need. A test skips where one is absent, and says what to install.

`.ci/run` installs every package of `PACKAGES`; there a skip is a failure (`tests/conftest.py`).
"""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
from functools import cache

import pytest

#: Program to the Debian package that has it.
PACKAGES = {
    "certbot": "python3-certbot-dns-rfc2136",
    "certutil": "libnss3-tools",
    "chromium": "chromium",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "dpkg-deb": "dpkg",
    "fish": "fish",
    "fail2ban-client": "fail2ban",
    "fail2ban-regex": "fail2ban",
    "goaccess": "goaccess",
    "gtlsclient": "ngtcp2-client",
    "h2load": "nghttp2-client",
    "htpasswd": "apache2-utils",
    "kdig": "knot-dnsutils",
    "kea-dhcp-ddns": "kea-dhcp-ddns-server",
    "knotd": "knot",
    "ldns-verify-zone": "ldnsutils",
    "logrotate": "logrotate",
    "named": "bind9",
    "nc": "netcat-openbsd",
    "ncat": "ncat",
    "nghttp": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "nginx": "nginx",
    "nsd": "nsd",
    "openssl": "openssl",
    "pebble": "pebble",
    "php-cgi": "php-cgi",
    "php-fpm": "php-fpm",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "rsyslogd": "rsyslog",
    "socat": "socat",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "tsig-keygen": "bind9",
    "unbound": "unbound",
    "zsh": "zsh",
}
#: Other names that a program goes by.
NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "php-fpm": ("php-fpm", *[f"php-fpm8.{minor}" for minor in range(9, 0, -1)]),
}


def find(program: str) -> str | None:
    """Return the path of a program of `PACKAGES`, also of one that only root has in its PATH."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    for name in NAMES.get(program, (program,)):
        found = shutil.which(name, path=path)
        if found and (program not in NAMES or _runs(found)):
            return found
    return None


@cache
def _runs(path: str) -> bool:
    """Whether the program tells its version. Ubuntu's chromium may be a script that says to install a snap."""
    return subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False).returncode == 0


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of tests that run these programs: `@needs("curl", "dig")`, or as a module's `pytestmark`."""
    absent = [program for program in programs if find(program) is None]
    packages = " ".join(dict.fromkeys(PACKAGES[program] for program in programs if program in absent))
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)} (apt-get install {packages})")


def half_closing(netcat: str) -> list[str]:
    """Return the command of a netcat that ends its side once its input has ended; which one it is, its help tells."""
    done = subprocess.run([netcat, "-h"], capture_output=True, text=True, timeout=60, check=False)
    text = done.stdout + done.stderr
    if "Ncat" in text or "BusyBox" in text:  # they always do
        return [netcat]
    return [netcat, "-N"] if "-N" in text else [netcat, "-q", "10"]  # OpenBSD's, and the traditional one


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


def _has_terminals() -> bool:
    try:
        ends = pty.openpty()
    except OSError:
        return False
    for end in ends:
        os.close(end)
    return True


#: The mark of tests that open a terminal.
needs_terminals = pytest.mark.skipif(not _has_terminals(), reason="needs pseudo-terminals (mount devpts at /dev/pts)")
