"""`deploy/Containerfile`: its steps make a program that runs read-only, as process 1 of a user that is not root.

Without a registry to pull its base from no image is made here: what the steps copy makes a wheel, and the program runs
as the last stage says, on a read-only file system.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from npserver.cli.arguments import parse_arguments
from npserver.web.config import Timeouts
from tests.stage.asking import get
from tests.stage.program import ROOT, Program
from tests.stage.sandbox import may_mount

FILE = (ROOT / "deploy" / "Containerfile").read_text()
USER = 1000


def steps(text: str) -> list[tuple[str, str]]:
    """Return instruction and arguments of each step."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


LAST = steps("FROM " + FILE.rpartition("FROM ")[2])


def setting(name: str) -> str:
    """Return the arguments of an instruction of the last stage."""
    return next(value for instruction, value in LAST if instruction == name)


def test_what_it_copies_exists_and_its_requirements_have_hashes() -> None:
    for instruction, value in steps(FILE):
        if instruction == "COPY" and not value.startswith("--from"):
            assert all((ROOT / source).exists() for source in value.split()[:-1])
    installs = [step for step in FILE.replace("\\\n", " ").splitlines() if "pip install" in step]
    assert len(installs) == 2
    assert all("--require-hashes" in step or "--no-deps" in step for step in installs)


def test_what_it_copies_is_all_that_a_wheel_needs(tmp_path: Path) -> None:
    for source in re.findall(r"(?m)^COPY (pyproject\.toml .*|src) /build", FILE):
        subprocess.run(["cp", "-r", *source.split(), str(tmp_path)], cwd=ROOT, check=True)
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, timeout=50, check=True
    )
    assert list(tmp_path.glob("npserver-*.whl"))


@pytest.mark.skipif(os.geteuid() != 0 or not may_mount(), reason="needs root that may mount")
def test_it_runs_read_only_as_process_1(free_port: Callable[[], int], socket_dir: Path) -> None:
    assert setting("USER") == "npserver"
    assert f"--uid {USER} " in setting("RUN")
    assert json.loads(setting("ENTRYPOINT")) == ["npserver"]
    assert parse_arguments(json.loads(setting("CMD"))).config == "/etc/npserver/npserver.json"
    variables = dict(pair.split("=", 1) for pair in shlex.split(setting("ENV")))
    assert variables["STATE_DIRECTORY"] == setting("VOLUME") == setting("WORKDIR")
    port = free_port()
    socket_dir.chmod(0o755)
    store = socket_dir / "store"
    store.mkdir(mode=0o700)
    os.chown(store, USER, USER)
    command = [str(Path(sys.executable).resolve()), "-m", "npserver", f"http://127.0.0.1:{port}", "-root", "/usr/share"]
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all"]
    script = f"mount --make-rprivate / && mount -o remount,bind,ro / && exec {shlex.join([*become, *command])}"
    process = subprocess.Popen(
        ["unshare", "-m", "-p", "--mount-proc", "--fork", "--kill-child", "sh", "-c", script],
        cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'src'}:{site.getsitepackages()[0]}",
            "STATE_DIRECTORY": str(store),
        },
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("npserver 1")
        assert get(port, "/common-licenses/GPL-3")[0] == 200
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{first}/status").read_text()
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
        assert re.search(rf"^Uid:\t{USER}\t", status, re.MULTILINE)
        os.kill(int(first), signal.SIGTERM)
        assert "shutting down" in process.communicate(timeout=30)[0]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def is_healthy(config: Path) -> int:
    """Run the health check of the image for this config file; return its exit status."""
    command = setting("HEALTHCHECK").partition(" CMD ")[2]
    command = command.replace("/etc/npserver/npserver.json", str(config))
    command = command.replace("npserver status", f"{sys.executable} -m npserver status")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(["sh", "-c", command], env=environment, stderr=subprocess.PIPE, timeout=50).returncode


def test_its_health_is_that_the_server_answers(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Whatever its targets do. Without a config file there is nothing to ask."""
    assert is_healthy(tmp_path / "none.json") == 0
    upstream = {"targets": [f"http://127.0.0.1:{free_port()}"], "health_check": {"interval": "100ms"}}
    rule = {"handler": "proxy", "proxy_pass": "upstream://gone"}
    one = program(
        config={"listen": [f"http://127.0.0.1:{free_port()}"], "upstreams": {"gone": upstream}, "dispatch": [rule]}
    )
    assert one.config_file is not None
    one.wait_until(lambda: one.command("status")[0] == 3, "target that is down")
    assert is_healthy(one.config_file) == 0
    one.stop()
    assert is_healthy(one.config_file) == 1


def test_the_compose_file_of_the_docs_fits() -> None:
    page = (ROOT / "docs" / "operations.md").read_text().partition("```yaml\nservices:\n")[2].partition("```")[0]
    assert f"npserver:{setting('VOLUME')}\n" in page
    assert f":{json.loads(setting('CMD'))[1]}:ro\n" in page
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", page)
    assert int(grace) > Timeouts().shutdown
