"""The units of `deploy/systemd` under a systemd that has booted: start, reload, upgrade, death, stop, sockets.

A container of this system's own `/usr`, with an empty `/etc` and `/var` and a network of its own, boots systemd as
process 1. A script in it does what an operator does; the tests read what it has noted.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stage.program import ROOT
from tests.stage.programs import find, needs
from tests.stage.sandbox import may_mount

UNITS = ROOT / "deploy" / "systemd"
#: Units that wait for a network, of which there is none.
WAITING = ("systemd-networkd", "NetworkManager", "ifupdown")
PROBE = """\
[Unit]
After=systemd-sysusers.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
ExecStart=/bin/sh /run/probe/script
TimeoutStartSec=100
"""
COMMAND = """\
#!/bin/sh
PYTHONPATH=/run/npserver-source:/run/packages exec {python} -P -s -S /run/npserver-source/npserver/__main__.py "$@"
"""
SCRIPT = """\
note() { name=$1; shift; printf '%s\\n' "$*" >> "/run/noted/$name"; }
show() { systemctl show --property="$1" --value npserver; }
ask() { curl --silent --show-error --max-time 20 http://127.0.0.1/ 2>&1; }
serve() {
    cat > /etc/npserver/npserver.json <<END
{ "listen": ["http://:80"], "dispatch": [{ "handler": "$1", "body": "$2" }] }
END
}
mkdir -p /etc/npserver
note booted "$(cat /proc/1/comm)"

serve respond one
systemctl start npserver
note started $? "$(ask)" "$(stat -c %U /proc/$(show MainPID))"
serve respond two
systemctl reload npserver
note reloaded $? "$(ask)"
serve nonsense three
systemctl reload npserver
note refused $? "$(ask)" "$(show ActiveState)"

serve respond four
before=$(show MainPID)
npserver upgrade -config /etc/npserver/npserver.json
note upgraded $? "$(ask)" "$(show ActiveState)"
after=$(show MainPID)
[ "$before" = "$after" ] || note followed "$(cat /proc/$after/comm)"
systemctl reload npserver
note upgraded $?

kill -KILL "$after"
until [ "$(show NRestarts)" = 1 ] && [ "$(show ActiveState)" = active ]; do sleep 0.1; done
note restarted "$(ask)"
systemctl stop npserver
note stopped $? "$(show Result)" "$(show ExecMainStatus)"

serve nonsense five
systemctl start npserver
note wrong $? "$(show NRestarts)" "$(show ActiveState)" "$(show ExecMainStatus)"

serve respond six
systemctl reset-failed npserver
systemctl start npserver.socket
note socket "$(show ActiveState)" "$(ask)"
for _ in $(seq 40); do ask; echo; done > /run/noted/answers &
systemctl restart npserver
note socket $?
wait
systemctl stop npserver.socket npserver
note socket "$(ask)"
journalctl --unit=npserver --output=cat --no-pager > /run/noted/journal
"""


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the script has noted: lines by name."""
    if os.geteuid() != 0 or not may_mount():
        pytest.skip("needs root that may mount file systems")
    directory = tmp_path_factory.mktemp("booted")
    made = {name: directory / name for name in ("noted", "probe", "bin", "probe.service")}
    for name in ("noted", "probe", "bin"):
        made[name].mkdir()
    made["probe.service"].write_text(PROBE)
    (made["probe"] / "script").write_text(SCRIPT)
    python = Path(sys.executable).resolve()
    (made["bin"] / "npserver").write_text(COMMAND.format(python=python))
    (made["bin"] / "npserver").chmod(0o755)
    bound = {
        made["probe"]: "/run/probe",
        made["bin"]: "/usr/local/bin",
        made["probe.service"]: "/etc/systemd/system/probe.service",
        UNITS / "npserver.service": "/etc/systemd/system/npserver.service",
        UNITS / "npserver.socket": "/etc/systemd/system/npserver.socket",
        UNITS / "npserver.sysusers": "/etc/sysusers.d/npserver.conf",
        ROOT / "src": "/run/npserver-source",
        Path(site.getsitepackages()[0]).resolve(): "/run/packages",
    }
    if not python.is_relative_to("/usr"):
        bound[Path(sys.base_prefix)] = sys.base_prefix
    done = subprocess.run(
        [
            find("systemd-nspawn") or "", "--quiet", "--directory=/", "--volatile=yes", "--private-network",
            "--register=no", *([] if Path("/run/systemd/system").exists() else ["--keep-unit"]),
            f"--machine=npserver-{os.getpid()}", "--console=pipe", f"--bind={made['noted']}:/run/noted",
            *(f"--bind-ro={path}:{place}" for path, place in bound.items()),
            "--boot", "systemd.unit=probe.service", "systemd.firstboot=off",
            *(f"systemd.mask={unit}-wait-online.service" for unit in WAITING),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=110, check=False,
    )  # fmt: skip
    if not (made["noted"] / "booted").exists():
        pytest.skip(f"needs root that may mount file systems and boot systemd: {done.stdout.decode()[-2000:]}")
    return {path.name: path.read_text().splitlines() for path in made["noted"].iterdir()}


pytestmark = [needs("systemd-nspawn", "curl"), pytest.mark.timeout(120)]


def test_it_runs_as_its_user_once_it_is_started(noted: dict[str, list[str]]) -> None:
    assert noted["booted"] == ["systemd"]
    assert noted["started"] == ["0 one npserver"]


def test_a_reload_takes_a_good_config_and_refuses_a_bad_one(noted: dict[str, list[str]]) -> None:
    assert noted["reloaded"] == ["0 two"]
    assert noted["refused"] == ["1 two active"]


def test_an_upgrade_makes_the_new_process_the_main_one(noted: dict[str, list[str]]) -> None:
    """Which is reloaded, and watched: once it is killed, systemd starts another."""
    assert noted["upgraded"] == ["0 four active", "0"]
    assert noted["followed"] == ["npserver"]
    assert noted["restarted"] == ["four"]


def test_a_stop_is_clean(noted: dict[str, list[str]]) -> None:
    assert noted["stopped"] == ["0 success 0"]


def test_a_wrong_config_is_told_once_and_not_tried_again(noted: dict[str, list[str]]) -> None:
    assert noted["wrong"] == ["1 0 failed 2"]
    assert len([line for line in noted["journal"] if line.startswith("/etc/npserver/") and "nonsense" in line]) == 2


def test_sockets_start_it_and_no_client_is_lost_while_it_starts_again(noted: dict[str, list[str]]) -> None:
    assert noted["socket"][:2] == ["inactive six", "0"]
    assert noted["answers"] == ["six"] * 40
    assert "Couldn't connect" in noted["socket"][2] or "refused" in noted["socket"][2]
