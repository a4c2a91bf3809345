"""The Debian package of `make deb`: installed, upgraded, removed and purged by the real dpkg.

This happens in a copy of the system that is thrown away: an overlay over it. systemd does not run in it, so that no
service is started; the command is.
"""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.deb import FILES, MANUAL, pack
from npserver import __version__
from npserver.cli.arguments import HELP
from tests.stage.asking import get
from tests.stage.bundle import collect_installed
from tests.stage.program import ROOT
from tests.stage.programs import needs
from tests.stage.sandbox import may_mount, read_unit

SYSTEM = Path("/usr/bin/python3").resolve().name
#: Makes the copy at /mnt/root, and runs the script of the environment variable SCRIPT in it.
OVERLAY = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cp "$PACKAGE" /mnt/root/package.deb
mount --rbind /dev /mnt/root/dev
mount -t proc proc /mnt/root/proc
mount -t tmpfs tmpfs /mnt/root/run
exec chroot /mnt/root sh -exc "$SCRIPT"
"""
pytestmark = [
    needs("dpkg-deb"),
    pytest.mark.skipif(
        f"python3.{sys.version_info[1]}" != SYSTEM,
        reason="needs the system's Python (apt-get install python3)",
    ),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("deb")
    collect_installed(directory / "root" / "usr" / "lib" / "npserver")
    return pack(directory / "root", directory, "none")


def script_of(package: Path, script: str) -> subprocess.Popen[str]:
    """Run a script in the copy; the package is /package.deb there. What it prints goes to `stdout`."""
    variables = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "SCRIPT": script, "PACKAGE": str(package)}
    return subprocess.Popen(
        ["unshare", "-m", "-p", "--fork", "--kill-child", "sh", "-c", OVERLAY],
        env={**variables, "DEBIAN_FRONTEND": "noninteractive"}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_its_files_have_their_places_and_belong_to_root(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    lines = {line.split()[5].removeprefix("./"): line.split() for line in listed.splitlines()}
    assert lines.keys() >= {*FILES.values(), MANUAL}
    assert {line[1] for line in lines.values()} == {"root/root"}
    executable = {name for name, line in lines.items() if line[0].startswith("-") and "x" in line[0]}
    assert executable == {"usr/bin/npserver"}
    assert not [name for name, line in lines.items() if line[0][8] == "w"], "others cannot write"
    for name in ("Depends", "Version", "Architecture"):
        field = subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True).stdout
        assert field.strip()
    assert (
        read_unit(ROOT / "deploy/systemd/npserver.service")["ExecStart"][0].split()[0] == "npserver"
    )  # /usr/bin has it


def test_its_manual_page_is_the_help(package: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout is not None
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            page = next(archive.extractfile(one) for one in archive if one.name == f"./{MANUAL}")
            assert page is not None
            lines = gzip.decompress(page.read()).decode().splitlines()
    shown = lines[lines.index(".nf") + 1 : lines.index(".fi")]
    assert "\n".join(shown).replace("\\&", "").replace("\\-", "-").replace("\\e", "\\") == HELP.rstrip("\n")
    assert all(line.startswith("\\&") for line in shown), "no line is taken for a request of troff"


@pytest.mark.skipif(os.geteuid() != 0 or not may_mount(), reason="needs root that may mount")
def test_dpkg_installs_upgrades_removes_and_purges_it(package: Path) -> None:
    script = """
        dpkg -i /package.deb
        dpkg -V npserver
        npserver -version
        id npserver
        test -e /usr/lib/npserver/npserver/cli/__pycache__
        npserver check -config /etc/npserver/npserver.json
        test -L /etc/systemd/system/multi-user.target.wants/npserver.service && echo enabled
        echo '{ "listen": ["http://:8080"] }' > /etc/npserver/npserver.json
        mkdir -p /var/lib/npserver /var/log/npserver /var/cache/npserver
        dpkg -i --force-confdef --force-confold /package.deb
        npserver -version
        grep -c 8080 /etc/npserver/npserver.json
        dpkg -r npserver
        ! test -e /usr/lib/npserver || exit 9
        ! test -e /usr/bin/npserver || exit 10
        test -d /var/lib/npserver
        test -e /etc/npserver/npserver.json
        dpkg -P npserver
        ! test -e /etc/npserver || exit 11
        ! test -e /etc/logrotate.d/npserver || exit 12
        for place in lib cache log; do ! test -e /var/$place/npserver || exit 13; done
        ! find /etc/systemd -name 'npserver*' | grep . || exit 14
        echo all
    """
    process = script_of(package, script)
    out, errors = process.communicate(timeout=55)
    assert process.returncode == 0, errors[-3000:]
    lines = out.splitlines()
    assert lines.count(f"npserver {__version__}") == 2
    assert "enabled" in lines
    assert lines[-1] == "all"
    assert re.search(r"^uid=\d+\(npserver\) gid=\d+\(npserver\)", out, re.MULTILINE)
    assert not re.search(r"(?m)^(dpkg: warning|rm:|find:|.*not found)", errors), errors


@pytest.mark.skipif(os.geteuid() != 0 or not may_mount(), reason="needs root that may mount")
def test_its_command_answers_as_the_user_that_it_makes(package: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    run = f"setpriv --reuid=npserver --regid=npserver --clear-groups npserver http://127.0.0.1:{port} -root /usr/share"
    process = script_of(package, f"dpkg -i /package.deb >/dev/null 2>&1; cd /; exec {run} 2>&1")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"npserver {__version__}")
        assert get(port, "/common-licenses/GPL-3")[0] == 200
    finally:
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        process.communicate(timeout=30)
