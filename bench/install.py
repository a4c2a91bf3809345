"""Installs the peers: Debian's packages by apt-get, the others into a virtual environment of their own.

A peer that cannot be installed is left out of the run, and the run says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.peers import ALL, PEERS

#: Load generators and what else is needed: program to Debian package.
TOOLS = {
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "gtlsclient": "ngtcp2-client",
    "dnsperf": "dnsperf",
    "taskset": "util-linux",
    "openssl": "openssl",
}


def install(wanted: set[str]) -> None:
    """Install the peers wanted and the load generators, as far as they are missing and can be fetched."""
    missing = [package for program, package in TOOLS.items() if shutil.which(program) is None]
    missing_python = []
    for name in wanted:
        peer = ALL[name]
        if peer.package.startswith("pip:"):
            if not peer.version():
                missing_python.append(peer.package.removeprefix("pip:"))
        elif shutil.which("dpkg-query"):  # a program may be here without its modules
            missing += [package for package in peer.package.split() if not _is_installed(package)]
        elif not peer.version():
            missing += peer.package.split()
    if missing:
        _apt(missing)
    if missing_python:
        if not (PEERS / "bin" / "pip").exists():
            _run([sys.executable, "-m", "venv", str(PEERS)])
        _run([str(PEERS / "bin" / "pip"), "install", "--quiet", *missing_python])


def _is_installed(package: str) -> bool:
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return asked.stdout.endswith(" ok installed")


def _apt(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        print(f"please install: {' '.join(packages)}", file=sys.stderr)
        return
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    _run([*prefix, "apt-get", "update", "-qq"])
    _run([*prefix, *environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])


def _run(command: list[str]) -> None:
    print("+", " ".join(command), file=sys.stderr)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
