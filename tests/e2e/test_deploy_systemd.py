"""The units of `deploy/systemd`: accepted by systemd, hardened, and npserver does all it can do under what they allow.

systemd itself does not run here: `tests.stage.sandbox` does to a process what the unit says.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import site
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import httpx
import pytest

from npserver.config.load import load
from tests.stage.passwords import quick_hash
from tests.stage.program import ROOT
from tests.stage.programs import needs
from tests.stage.sandbox import may_mount, read_unit
from tests.stage.waiting import wait_until

UNITS = ROOT / "deploy" / "systemd"
SERVICE = UNITS / "npserver.service"
MOST_EXPOSED = 2.0
INTERPRETER = Path(sys.executable).resolve()
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or not all(one.stat().st_mode & 0o001 for one in INTERPRETER.parents),
    reason="needs root, and a Python below directories that every user may enter",
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Copies of the units in which the command exists."""
    for unit in UNITS.glob("npserver.s*"):
        text = re.sub(
            r"^(Exec\w+=)npserver ", rf"\1{sys.executable} -m npserver ", unit.read_text(), flags=re.MULTILINE
        )
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@needs("systemd-analyze")
def test_systemd_accepts_the_units(units: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(units / "npserver.service"), str(units / "npserver.socket")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "npserver" in line]
    assert (done.returncode, lines) == (0, [])


@needs("systemd-analyze")
def test_the_service_is_hardened(units: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(units / "npserver.service")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for npserver.service: ([\d.]+)", done.stdout)
    assert level
    assert float(level[1]) < MOST_EXPOSED, done.stdout
    assert f"rates its exposure {level[1]} of 10" in (ROOT / "docs" / "operations.md").read_text()


@needs("systemd-analyze")
def test_its_user_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "npserver.sysusers")], timeout=60, check=True)
    user = next(line for line in (tmp_path / "etc" / "passwd").read_text().splitlines() if "npserver" in line)
    assert user.startswith("npserver:")
    assert user.endswith(":/var/lib/npserver:/usr/sbin/nologin")
    assert {name: read_unit(SERVICE)[name] for name in ("User", "Group")} == {
        "User": ["npserver"],
        "Group": ["npserver"],
    }


def test_the_docs_install_the_units(tmp_path: Path) -> None:
    """The `install` commands of the page, below another root."""
    page = (ROOT / "docs" / "operations.md").read_text().partition("## systemd\n")[2]
    commands = [line for line in page.partition("```sh\n")[2].partition("```")[0].splitlines() if "install -" in line]
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    for command in commands:
        if command.startswith("install "):
            subprocess.run(command.replace(" /etc/", f" {tmp_path}/etc/"), shell=True, cwd=ROOT, timeout=60, check=True)
    made = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert made.keys() == {
        "etc/sysusers.d/npserver.conf",
        "etc/npserver/npserver.json",
        "etc/systemd/system/npserver.service",
        "etc/systemd/system/npserver.socket",
    }
    assert read_unit(made["etc/systemd/system/npserver.service"])["ExecStart"] == [
        "npserver -config /etc/npserver/npserver.json"  # found in /usr/local/bin, where the page links it to
    ]
    assert "ln -s /opt/npserver/bin/npserver /usr/local/bin/npserver" in page


def test_the_first_config_is_valid() -> None:
    assert load(str(ROOT / "deploy" / "npserver.json")).config.listen == ["http://:80"]


class Sandboxed:
    """npserver as the unit runs it.

    Attributes: `file` (the config file), `process`, `manager` (the service manager's end of its notifications).
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        directory.chmod(0o755)
        self.file = directory / "npserver.json"
        self.file.write_text(json.dumps(config))
        self._bound = bound(directory)
        self._errors = directory / "errors"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"\0npserver-test-{directory.name}")
        self._environment = environment(NOTIFY_SOCKET=f"@npserver-test-{directory.name}")
        with self._errors.open("w") as errors:
            self.process = self.run("-config", stderr=errors)

    def run(self, *words: str, join: int | None = None, **options: Any) -> subprocess.Popen[str]:
        """Run npserver with `words` and the name of the config file, as ExecStart or ExecReload."""
        joining = [] if join is None else ["-join", str(join)]
        binding = [word for path in self._bound for word in ("-bind", str(path))]
        command = [str(INTERPRETER), "-m", "npserver", *words, str(self.file)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.stage.sandbox", str(SERVICE), *joining, *binding, *command],
            cwd="/", env=self._environment, text=True, **options,
        )  # fmt: skip

    def path(self, name: str) -> Path:
        """Return a file as the process sees it."""
        return Path(f"/proc/{self.process.pid}/root{name}")

    def told(self) -> str:
        """Return what the service manager is told next."""
        ready = wait_until(
            lambda: select.select([self.manager], [], [], 0.1)[0] or self.process.poll() is not None,
            "notification", story=lambda: self.errors,
        )  # fmt: skip
        assert ready is not True, self.errors
        return self.manager.recv(1000).decode()

    @property
    def errors(self) -> str:
        return self._errors.read_text()


def bound(directory: Path) -> list[Path]:
    """Return what must be readable in the sandbox: this directory, the program, its packages, and Python."""
    found = [directory, ROOT / "src", Path(site.getsitepackages()[0])]
    return found if INTERPRETER.is_relative_to("/usr") else [*found, INTERPRETER.parents[1]]


def environment(**variables: str) -> dict[str, str]:
    path = f"{ROOT / 'src'}:{ROOT}:{site.getsitepackages()[0]}"
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables}


def free_low_port() -> int:
    """Return a port below 1024 that is free for TCP and UDP."""
    for port in range(1023, 599, -1):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1024 is free")


def config_of(web: int, secure: int, names: int, word: str) -> dict[str, Any]:
    """Return a config that uses what npserver needs of the system: each in a rule of its own."""
    return {
        "workers": 2,
        "listen": [
            f"http://127.0.0.1:{web}",
            {"name": "secure", "uri": f"https://127.0.0.1:{secure}", "http3": True},
            {"name": "dns", "uri": f"udp://127.0.0.1:{names}"},
            {"name": "dns-tcp", "uri": f"tcp://127.0.0.1:{names}"},
            {"name": "unix", "uri": "unix:///run/npserver/web.sock", "mode": "0666"},
        ],
        "logging": {"access_log": "/var/log/npserver/access.log"},
        "dispatch": [
            {"handler": "respond", "body": word},
            {"handler": "respond", "host": "nas.home", "body": word},
            {"handler": "static", "path": "/common-licenses/**", "root": "/usr/share/common-licenses"},
            {"handler": "respond", "path": "/limited", "rate_limit": "1/h", "body": "once"},
            {"handler": "respond", "path": "/secret", "basic_auth": {"users": {"alice": quick_hash("x")}}},
            {
                "handler": "proxy",
                "path": "/cached/**",
                "strip_prefix": "/cached",
                "proxy_pass": f"http://127.0.0.1:{web}/common-licenses/",
                "cache": {"directory": "/var/cache/npserver", "default_ttl": "1h"},
            },
            {"handler": "dns", "listener": ["dns", "dns-tcp"]},
        ],
        "dns": {"nas.home": {"A": "127.0.0.1"}},
    }


#: What is tried in the sandbox, and whether the unit allows it.
ATTEMPTS = {
    "open('/usr/x', 'w')": False,
    "open('/etc/x', 'w')": False,
    "open('/var/lib/x', 'w')": False,
    "open('/var/lib/npserver/x', 'w')": True,
    "open('/var/cache/npserver/x', 'w')": True,
    "open('/tmp/x', 'w')": True,
    "os.listdir('/root')": False,
    "os.stat('/dev/kmsg')": False,
    "os.stat('/proc/1')": False,
    "os.setpriority(os.PRIO_PROCESS, 0, -1)": False,
    "os.chown('/tmp/x', 65534, 65534)": False,
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)": False,
    "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)": False,
    "next(npserver.runtime.interfaces._by_netlink())": True,
    "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)": False,
    "ctypes.CFUNCTYPE(ctypes.c_int)(int)()": True,
    "os.memfd_create('x')": True,
    "_multiprocessing.SemLock(1, 1, 1, '/npserver-test', True)": True,
}


@AS_ROOT
@pytest.mark.skipif(not may_mount(), reason="needs root that may mount")
@needs("systemd-analyze")
def test_the_unit_allows_what_npserver_needs_and_nothing_else(socket_dir: Path) -> None:
    socket_dir.chmod(0o755)
    script = socket_dir / "attempts.py"
    script.write_text(
        "import _multiprocessing, ctypes, json, mmap, os, socket, sys, npserver.runtime.interfaces\n"
        "def attempt(code):\n"
        "    try:\n        eval(code)\n    except (OSError, StopIteration):\n        return False\n    return True\n"
        "print(json.dumps({code: attempt(code) for code in sys.argv[1:]}))\n"
    )
    binding = [word for path in bound(socket_dir) for word in ("-bind", str(path))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.stage.sandbox", str(SERVICE), *binding, str(INTERPRETER), str(script), *ATTEMPTS],
        cwd="/", env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ATTEMPTS


@AS_ROOT
@pytest.mark.skipif(not may_mount(), reason="needs root that may mount")
@needs("systemd-analyze")
def test_npserver_does_its_work_as_the_unit_allows(free_port: Callable[[], int], socket_dir: Path) -> None:
    web, secure, names = free_low_port(), free_port(), free_port()
    one = Sandboxed(socket_dir, config_of(web, secure, names, "old"))
    try:
        assert one.told().startswith("READY=1\nMAINPID="), one.errors
        status = Path(f"/proc/{one.process.pid}/status").read_text()
        assert re.search(r"^CapEff:\t0+400$", status, re.MULTILINE), "CAP_NET_BIND_SERVICE and no other"
        assert re.search(r"^Name:\tnpserver$", status, re.MULTILINE), "its title"
        assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)

        with httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=30) as client:
            assert client.get("/").text == "old"
            assert "GNU" in client.get("/common-licenses/GPL-3", headers={"Accept-Encoding": "gzip"}).text
            assert client.get("/cached/GPL-3").headers["cache-status"] == "npserver; fwd=uri-miss; stored"
            wait_until(lambda: "hit" in client.get("/cached/GPL-3").headers["cache-status"], "the cached response")
            assert sorted(client.get("/limited").status_code for _ in range(4)) == [200, 429, 429, 429]
            assert client.get("/secret", auth=("alice", "x")).status_code == 200
            assert client.get("/secret", auth=("alice", "y")).status_code == 401
        assert one.path("/var/lib/npserver").stat().st_mode & 0o777 == 0o700
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(one.path("/run/npserver/web.sock")))) as client:
            assert client.get("http://127.0.0.1/").text == "old"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert httpx.get(f"https://127.0.0.1:{secure}/", verify=context, headers={"Host": "nas.home"}).text == "old"
        query = dns.message.make_query("nas.home", "A")
        for ask in (dns.query.udp, dns.query.tcp):
            assert "127.0.0.1" in str(ask(query, "127.0.0.1", 30, names).answer[0])

        one.file.write_text(json.dumps(config_of(web, secure, names, "new")))
        reload = one.run("reload", "-config", join=one.process.pid, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert reload.communicate(timeout=30)[0] == "reloaded\n"
        assert one.told().startswith("RELOADING=1")
        assert one.told().startswith("READY=1")
        assert httpx.get(f"http://127.0.0.1:{web}/").text == "new"

        log = one.path("/var/log/npserver/access.log")
        wait_until(lambda: "/common-licenses/GPL-3 200 " in log.read_text(), "the access log")
        log.rename(log.with_suffix(".1"))
        one.process.send_signal(signal.SIGUSR1)
        wait_until(log.exists, "the new access log")
        assert log.stat().st_mode & 0o777 == 0o640
    finally:
        one.process.terminate()
        one.process.wait(30)
        one.manager.close()
    assert one.process.returncode == 0, one.errors
    assert "Permission" not in one.errors
    assert "not permitted" not in one.errors
