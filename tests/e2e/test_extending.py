"""The examples of docs/extending.md, installed as packages beside the real program.

Covers `config.extensions`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from npserver.web.middleware.order import MIDDLEWARE
from tests.stage.asking import get
from tests.stage.program import ROOT, Program

_PAGE = (ROOT / "docs" / "extending.md").read_text()
_FILE = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONFIG = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def install(directory: Path, files: dict[str, str]) -> None:
    """Put a package where `pip install --target` would, without pip: its modules and its entry points."""
    project = tomllib.loads(files["pyproject.toml"])
    modules = project["tool"]["setuptools"]["py-modules"]
    name, version = project["project"]["name"], project["project"]["version"]
    for module in modules:
        (directory / f"{module}.py").write_text(files[f"{module}.py"])
    metadata = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def pip_install(directory: Path, files: dict[str, str], source: Path) -> None:
    """Install a package as the page says, by pip; `source` becomes its directory."""
    source.mkdir()
    for name, text in files.items():
        (source / name).write_text(text)
    flags = ["--no-build-isolation", "--no-index", "--no-deps", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *flags, "--target", str(directory), "."]
    subprocess.run(command, cwd=source, check=True, timeout=120)


def example(number: int) -> dict[str, str]:
    """The files of the page's package of this number: a module, then its pyproject.toml."""
    blocks = _FILE.findall(_PAGE)
    return dict(blocks[2 * number : 2 * number + 2])


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    directory = tmp_path / "packages"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(packages: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{packages}"}


def run(environment: dict[str, str], directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "npserver", *words],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


class TestHandler:
    """The handler `clock`."""

    @pytest.fixture(autouse=True)
    def clock(self, packages: Path) -> None:
        install(packages, example(0))

    def config(self, port: int = 8080, **keys: str) -> str:
        text = _CONFIG.findall(_PAGE)[0].replace("8080", str(port))
        config = json.loads(text)
        config["dispatch"][0].update(keys)
        return json.dumps(config, indent=1)

    def test_a_foreign_handler_serves(
        self,
        program: Callable[..., Program],
        free_port: Callable[[], int],
        environment: dict[str, str],
        packages: Path,
        tmp_path: Path,
    ) -> None:
        shutil.rmtree(packages)
        pip_install(packages, example(0), tmp_path / "source")
        port = free_port()
        program(config=self.config(port, format="%Y"), env=environment, listens=[f"http://127.0.0.1:{port}"])
        status, body = get(port, "/time")
        assert status == 200
        assert re.fullmatch(rb"20\d\d", body)

    def test_a_check_describes_a_foreign_handler(self, environment: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "c.json").write_text(self.config())
        checked = run(environment, tmp_path, "check", "c.json")
        assert checked.stdout.splitlines() == ["c.json: ok", "  http://127.0.0.1:8080  /time  the time as %H:%M"]

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"fromat": "%H"}, ":13:4: unknown key 'fromat' in handler 'clock'; did you mean 'format'?"),
            ({"format": 3}, ":9:14: 'format': expected a string, got 3"),
            ({"format": "now"}, ":9:14: 'format' needs a directive such as %H, got 'now'"),
        ],
    )
    def test_a_check_knows_its_keys(
        self, keys: dict[str, str], message: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "c.json").write_text(self.config(**keys))
        found = run(environment, tmp_path, "check", "c.json")
        assert f"c.json{message}" in found.stderr.splitlines()
        assert found.returncode == 2

    def test_a_misspelt_name_is_guessed(self, environment: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "c.json").write_text(self.config(handler="clok"))
        assert "unknown handler 'clok'; did you mean 'clock'?" in run(environment, tmp_path, "check", "c.json").stderr

    def test_the_schema_has_a_foreign_handler(self, environment: dict[str, str], tmp_path: Path) -> None:
        schema = json.loads(run(environment, tmp_path, "schema").stdout)
        rule = schema["$defs"]["npserver_clock.ClockRule"]
        assert rule["properties"]["handler"]["const"] == "clock"
        assert rule["properties"]["format"]["default"] == "%H:%M:%S"
        assert {"$ref": "#/$defs/npserver_clock.ClockRule"} in schema["properties"]["dispatch"]["items"]["oneOf"]
        assert "## Handler clock" in run(environment, tmp_path, "schema", "-markdown").stdout


class TestMiddleware:
    """The key `closed_file`."""

    @pytest.fixture(autouse=True)
    def closed_file(self, packages: Path) -> None:
        install(packages, example(1))

    def config(self, **keys: object) -> str:
        config = json.loads(_CONFIG.findall(_PAGE)[1])
        config["dispatch"][0].update(keys)
        return json.dumps(config, indent=1)

    @pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
    def test_it_stands_before_the_handler(
        self,
        version: str,
        program: Callable[..., Program],
        free_port: Callable[[], int],
        certificates: Callable[..., Any],
        environment: dict[str, str],
        packages: Path,
        tmp_path: Path,
    ) -> None:
        shutil.rmtree(packages)
        pip_install(packages, example(1), tmp_path / "source")
        port, certificate = free_port(), certificates()
        config = json.loads(self.config())
        config["listen"], config["tls"] = [f"https://127.0.0.1:{port}"], certificate.config
        program(config=config, env=environment)
        trust = ssl.create_default_context(cafile=certificate.ca)
        url = f"https://127.0.0.1:{port}/"
        with httpx.Client(http1=version == "HTTP/1.1", http2=version == "HTTP/2", verify=trust) as client:
            first = client.get(url)
            assert (first.http_version, first.status_code, first.text) == (version, 200, "in service")
            (tmp_path / "closed.flag").touch()
            refused = client.get(url)
            assert (refused.http_version, refused.status_code) == (version, 503)
            assert refused.headers["retry-after"] == "60"
            (tmp_path / "closed.flag").unlink()
            assert client.get(url).text == "in service"

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"closed_fiel": "x"},
                ":10:4: unknown key 'closed_fiel' in handler 'respond'; did you mean 'closed_file'?",
            ),
            ({"closed_file": 3}, ":9:19: 'closed_file': expected a string, got 3"),
            ({"closed_file": ""}, ":9:19: 'closed_file' must be the name of a file"),
        ],
    )
    def test_a_check_knows_its_key(
        self, keys: dict[str, object], message: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "c.json").write_text(self.config(**keys))
        found = run(environment, tmp_path, "check", "c.json")
        assert found.stderr.splitlines() == [f"c.json{message}"]
        assert found.returncode == 2

    def test_the_schema_has_its_key_in_every_http_rule(self, environment: dict[str, str], tmp_path: Path) -> None:
        definitions = json.loads(run(environment, tmp_path, "schema").stdout)["$defs"]
        assert definitions["StaticRule"]["properties"]["closed_file"]["type"] == "string"
        assert "closed_file" in definitions["ProxyRule"]["properties"]
        assert "closed_file" not in definitions["ForwardRule"]["properties"]
        assert "| `closed_file` | string |" in run(environment, tmp_path, "schema", "-markdown").stdout

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("X = 1", ": 'm:X' is not an AddedMiddleware: AttributeError: 'int' object has no attribute 'value'"),
            ("import xyz", " cannot be imported from 'm:X': ModuleNotFoundError: No module named 'xyz'"),
        ],
    )
    def test_a_broken_package_gives_one_clear_line(
        self, source: str, reason: str, packages: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        project = example(1)["pyproject.toml"].replace("npserver_closed_file:CLOSED_FILE", "m:X")
        project = project.replace("npserver_closed_file", "m").replace("closed_file =", "upkeep =")
        project = project.replace("npserver-closed-file", "npserver-upkeep")
        install(packages, {"pyproject.toml": project, "m.py": source})
        (tmp_path / "c.json").write_text(
            '{"dispatch": [{"handler": "status", "upkeep": 1}], "listen": ["http://:8080"]}'
        )
        checked = run(environment, tmp_path, "check", "c.json")
        assert checked.stderr.splitlines() == [
            f"c.json:1:37: middleware 'upkeep' of package npserver-upkeep 1.0{reason}"
        ]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_package_that_fails_at_a_reload_changes_nothing(
        self,
        workers: int,
        program: Callable[..., Program],
        free_port: Callable[[], int],
        environment: dict[str, str],
        packages: Path,
        tmp_path: Path,
    ) -> None:
        broken = packages / "npserver_closed_file.py"
        source = broken.read_text()
        head = "def compile_closed_file(compilation, path, file):\n"
        assert head in source
        broken.write_text(
            source.replace(head, f"{head}    raise RuntimeError('a fault')\n\n\ndef never(path, file):\n")
        )
        port = free_port()
        config = {"listen": [f"http://127.0.0.1:{port}"], "workers": workers}

        def answering(body: str, **keys: str) -> dict[str, object]:
            return {**config, "dispatch": [{"handler": "respond", "body": body, **keys}]}

        one = program(config=answering("first"), env=environment)
        one.configure(answering("second", closed_file="closed.flag"))
        refused = run(environment, tmp_path, "reload", "-config", "npserver.json")
        assert (refused.returncode, "RuntimeError('a fault')" in refused.stderr) == (1, True), refused.stderr
        one.wait_for("internal error while compiling the new config")
        assert get(port) == (200, b"first")
        one.configure(answering("third"))
        assert run(environment, tmp_path, "reload", "-config", "npserver.json").returncode == 0
        assert get(port) == (200, b"third")
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 0  # the log has a traceback


def test_a_place_next_to_unknown_middleware_is_an_error(
    packages: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    files = example(1)
    files["npserver_closed_file.py"] = files["npserver_closed_file.py"].replace('after="networks"', 'before="nets"')
    install(packages, files)
    (tmp_path / "c.json").write_text(_CONFIG.findall(_PAGE)[1])
    checked = run(environment, tmp_path, "check", "c.json")
    order = ", ".join([kind.name for kind in MIDDLEWARE])
    expected = f"c.json:3:77: middleware 'closed_file' is to stand next to 'nets', which is none of {order}"
    assert checked.stderr.splitlines() == [expected]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import nowhere_to_be_found",
            " cannot be imported from 'm:X': ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("Y = 1", " cannot be imported from 'm:X': AttributeError: module 'm' has no attribute 'X'"),
        ("X = 1", ": 'm:X' is not a HandlerKind: AttributeError: 'int' object has no attribute 'section'"),
    ],
)
def test_a_broken_package_gives_one_clear_line(
    source: str, reason: str, packages: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    project = example(0)["pyproject.toml"].replace("npserver_clock:CLOCK", "m:X").replace("npserver_clock", "m")
    install(packages, {"pyproject.toml": project, "m.py": source})
    (tmp_path / "c.json").write_text('{"listen": ["http://:8080"], "dispatch": [{"handler": "clock"}]}')
    checked = run(environment, tmp_path, "check", "c.json")
    (line, *_) = checked.stderr.splitlines()
    assert line == f"c.json:1:55: handler 'clock' of package npserver-clock 1.0{reason}"
    assert "Traceback" not in checked.stderr
    assert reason in run(environment, tmp_path, "schema").stderr


def test_two_packages_with_one_handler_are_told(packages: Path, environment: dict[str, str], tmp_path: Path) -> None:
    files = example(0)
    install(packages, files)
    other = files["pyproject.toml"].replace("npserver-clock", "another-clock").replace("npserver_clock", "another")
    install(packages, {"pyproject.toml": other, "another.py": files["npserver_clock.py"]})
    (tmp_path / "c.json").write_text('{"listen": ["http://:8080"], "dispatch": [{"handler": "clock"}]}')
    expected = "handler 'clock' is provided by package another-clock 1.0 and package npserver-clock 1.0: uninstall one"
    assert expected in run(environment, tmp_path, "check", "c.json").stderr


@pytest.mark.parametrize("key", ["allow", "root"])  # one of every rule, one of the static handler
def test_a_key_that_npserver_has_cannot_be_claimed(
    key: str, packages: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    files = example(1)
    project = files["pyproject.toml"].replace("closed_file =", f"{key} =")
    install(packages, {**files, "pyproject.toml": project})
    (tmp_path / "c.json").write_text(
        '{"dispatch": [{"handler": "status", "allow": "127.0.0.1"}], "listen": ["http://:8080"]}'
    )
    assert run(environment, tmp_path, "check", "c.json").returncode == 0, "the built-in key goes on to work"
    told = run(environment, tmp_path, "schema")
    assert f"npserver has a key '{key}' of its own" in told.stderr
    rule = json.loads(told.stdout)["$defs"]["StatusRule"]["properties"]
    without = json.loads(run({"PYTHONPATH": str(ROOT / "src")}, tmp_path, "schema").stdout)
    assert rule == without["$defs"]["StatusRule"]["properties"]


def test_middleware_has_one_place(packages: Path, environment: dict[str, str], tmp_path: Path) -> None:
    files = example(1)
    source = files["npserver_closed_file.py"].replace('after="networks"', 'before="headers", after="networks"')
    install(packages, {**files, "npserver_closed_file.py": source})
    (tmp_path / "c.json").write_text(_CONFIG.findall(_PAGE)[1])
    assert "give it 'before' or 'after', not both" in run(environment, tmp_path, "check", "c.json").stderr
