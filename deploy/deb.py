"""Build a package for Debian and Ubuntu, by dpkg-deb alone: `python -m deploy.deb [DIRECTORY]`, by default into `dist`.

The package brings the pinned requirements for all versions of Python in `/usr/lib/npserver`, and uses none of the
system's packages.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.dist import EPOCH, ROOT
from deploy.vendor import VERSIONS, collect
from npserver import __version__
from npserver.cli.arguments import HELP

HERE = Path(__file__).parent
_FIRST, _LAST = VERSIONS[0], f"3.{int(VERSIONS[-1].partition('.')[2]) + 1}"
CONTROL = f"""\
Package: npserver
Version: {__version__}
Architecture: {{architecture}}
Maintainer: npserver contributors <npserver@localhost>
Installed-Size: {{size}}
Depends: adduser, libc6 (>= 2.34), python3 (>= {_FIRST}), python3 (<< {_LAST})
Suggests: logrotate
Section: httpd
Priority: optional
Description: web server, reverse proxy, forwarder and name server
 Static files, reverse proxy, TCP and UDP forwarding, authoritative DNS, a
 resolver for the home and TLS from one program with one JSON file.
"""
#: File of the checkout to its place.
FILES = {
    "deploy/debian/npserver.sh": "usr/bin/npserver",
    "deploy/systemd/npserver.service": "usr/lib/systemd/system/npserver.service",
    "deploy/systemd/npserver.socket": "usr/lib/systemd/system/npserver.socket",
    "deploy/npserver.json": "etc/npserver/npserver.json",
    "deploy/logrotate/npserver": "etc/logrotate.d/npserver",
    "deploy/sysctl/90-npserver.conf": "usr/share/doc/npserver/examples/90-npserver.conf",
    "deploy/debian/overrides": "usr/share/lintian/overrides/npserver",
    "LICENSE": "usr/share/doc/npserver/copyright",
}
MANUAL = "usr/share/man/man1/npserver.1.gz"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/npserver",
    "zsh": "usr/share/zsh/vendor-completions/_npserver",
    "fish": "usr/share/fish/vendor_completions.d/npserver.fish",
}


def build(directory: Path) -> Path:
    """Build the package in `directory`. Return its path."""
    with tempfile.TemporaryDirectory() as work:
        collect(Path(work, "root", "usr", "lib", "npserver"))
        return pack(Path(work, "root"), directory)


def pack(root: Path, directory: Path, compression: str = "xz") -> Path:
    """Build the package of `root`, which has `usr/lib/npserver` already. Return the path of the package."""
    for source, place in FILES.items():
        _write(root / place, (ROOT / source).read_bytes(), executable=place == "usr/bin/npserver")
    for shell, place in COMPLETIONS.items():
        command = [sys.executable, "-m", "npserver", "completion", shell]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        _write(root / place, subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    _write(root / MANUAL, gzip.compress(_manual(HELP).encode(), mtime=0))
    news = f"npserver ({__version__}) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- npserver contributors "
    news += "<npserver@localhost>  Wed, 01 Jan 2020 00:00:00 +0000\n"
    _write(root / "usr/share/doc/npserver/changelog.gz", gzip.compress(news.encode(), mtime=0))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in files:
        if path.relative_to(root).parts[:3] == ("usr", "lib", "npserver"):
            path.chmod(0o644)
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    architecture = subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True, check=True)
    machine = architecture.stdout.strip()
    _write(root / "DEBIAN/control", CONTROL.format(architecture=machine, size=size).encode())
    _write(root / "DEBIAN/md5sums", sums.encode())
    _write(root / "DEBIAN/conffiles", b"/etc/logrotate.d/npserver\n/etc/npserver/npserver.json\n")
    for script in ("postinst", "prerm", "postrm"):
        _write(root / "DEBIAN" / script, (HERE / "debian" / script).read_bytes(), executable=True)
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    directory.mkdir(parents=True, exist_ok=True)
    package = directory / f"npserver_{__version__}_{machine}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(root), str(package)],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return package


def _manual(text: str) -> str:
    """Return the manual page that shows the program's help."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    shown = "\n".join(f"\\&{line}" for line in lines)
    return (
        f'.TH NPSERVER 1 "" "npserver {__version__}"\n.SH NAME\n'
        "npserver \\- web server, reverse proxy, forwarder and name server\n"
        f".SH DESCRIPTION\n.nf\n{shown}\n.fi\n"
    )


def _write(path: Path, data: bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755 if executable else 0o644)


if __name__ == "__main__":
    print(build(Path(*sys.argv[1:2] or ["dist"])))
