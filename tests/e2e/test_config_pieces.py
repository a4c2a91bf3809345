"""A config from pieces in the running program: values from the environment and files across reloads, and never shown.

Covers `config.expand` and `config.files` with `process.reload`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.program import ROOT, Program
from tests.stage.secrets import leaks

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def command(*words: str, directory: Path, **environment: str) -> tuple[int, str]:
    """Run a command of the program; return its exit status, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "npserver", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        cwd=directory, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.returncode, f"{done.stdout}{done.stderr}"


def get(port: int, path: str = "/") -> str:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30).text


def replace(file: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(text)
    fresh.replace(file)


@WORKERS
def test_values_are_read_again_by_reloads(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    """The variables are those of the start; a file that is gone fails the reload, and the config in use goes on."""
    port, secret = free_port(), tmp_path / "secret"
    secret.write_text("one\n")
    config = {
        "workers": "${N_WORKERS}",
        "listen": ["http://127.0.0.1:${N_PORT}"],
        "dispatch": [{"handler": "respond", "body": "${file:secret} ${N_TEXT:-none}"}],
    }
    one = program(
        config=config, listens=[f"http://127.0.0.1:{port}"], env={"N_PORT": str(port), "N_WORKERS": str(workers)}
    )
    assert get(port) == "one none"
    secret.write_text("two\n")
    assert get(port) == "one none"
    one.send_signal(signal.SIGHUP)
    one.wait_for("config reloaded")
    assert {get(port) for _ in range(10)} == {"two none"}
    secret.unlink()
    one.send_signal(signal.SIGHUP)
    one.wait_for(r"npserver\.json:9:\d+: cannot read 'secret' of '\$\{file:\}': no such file or directory")
    one.wait_for("reload failed: keeping the current configuration")
    assert get(port) == "two none"
    if workers:
        victims = one.children()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and not {*victims} & {*one.children()}, "new processes")
        assert {get(port) for _ in range(10)} == {"two none"}
    one.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@WORKERS
def test_only_root_needs_to_read_the_files(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    """The start and reloads of the master; the workers get what it has read, and so do those that come later."""
    port, secret, part = free_port(), tmp_path / "secret", tmp_path / "part.json"
    part.write_text('{"dispatch": [{"handler": "respond", "body": "${file:secret}"}]}')
    for file in (secret, part):
        file.touch()
        file.chmod(0o600)
    secret.write_text("one\n")
    config = {"workers": workers, "user": "nobody", "listen": [f"http://127.0.0.1:{port}"], "include": ["p*.json"]}
    one = program(config=config)
    assert get(port) == "one"
    if workers:
        secret.write_text("two\n")
        one.send_signal(signal.SIGHUP)
        one.wait_for("config reloaded, with 1 included file")
        assert {get(port) for _ in range(10)} == {"two"}
        victims = one.children()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and not {*victims} & {*one.children()}, "new processes")
        assert {get(port) for _ in range(10)} == {"two"}
    one.stop()


@WORKERS
def test_a_watched_config_is_read_again_when_a_file_of_it_changes(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port, secret = free_port(), tmp_path / "secret"
    secret.write_text("one\n")
    rule = {"handler": "respond", "body": "${file:secret}"}
    one = program("-watch", config={"workers": workers, "listen": [f"http://127.0.0.1:{port}"], "dispatch": [rule]})
    replace(secret, "two\n")
    one.wait_until(lambda: get(port) == "two", "the new value")
    secret.unlink()
    one.wait_for("reload failed")  # the line after the reason
    assert "cannot read 'secret'" in one.errors
    assert one.errors.count("reload failed") == 1
    replace(secret, "three\n")
    one.wait_until(lambda: get(port) == "three", "the value of the file that is there again")


@WORKERS
def test_included_files_come_change_and_go_in_a_running_server(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port, sites = free_port(), tmp_path / "sites"
    sites.mkdir()

    def site(name: str, body: str) -> str:
        return json.dumps({"dispatch": [{"handler": "respond", "path": f"/{name}", "body": body}]})

    (sites / "a.json").write_text(site("a", "one"))
    config = {"workers": workers, "listen": [f"http://127.0.0.1:{port}"], "include": ["sites/*.json"]}
    one = program("-watch", config=config)
    assert one.config_file is not None
    assert get(port, "/a") == "one"
    replace(sites / "b.json", site("b", "two"))
    one.wait_for("config reloaded, with 2 included files")
    assert {(get(port, "/a"), get(port, "/b")) for _ in range(5)} == {("one", "two")}
    replace(sites / "a.json", site("a", "three"))
    one.wait_until(lambda: get(port, "/a") == "three", "what has changed")
    replace(sites / "a.json", '{\n"dispatch": [5]}')
    one.wait_for(r"sites/a\.json:2:14: 'dispatch': expected an object, got 5")
    assert get(port, "/a") == "three"
    assert command("check", one.config_file.name, directory=tmp_path) == (
        2,
        "npserver.json: 1 error, with 2 included files\nsites/a.json:2:14: 'dispatch': expected an object, got 5\n",
    )
    (sites / "a.json").unlink()
    one.wait_until(lambda: "404" in get(port, "/a"), "what is gone")
    assert get(port, "/b") == "two"
    status, said = command("reload", "-config", one.config_file.name, directory=tmp_path)
    assert (status, said) == (0, "reloaded, with 1 included file\n")
    one.stop()


def test_no_value_is_shown(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """Not by `check`, nor by a reload that fails on it, nor by the status page and the log."""
    port = free_port()
    secrets = ["the-secret-in-a-file-of-docker", "the-secret-in-a-variable-of-docker"]
    (tmp_path / "secret").write_text(f"{secrets[0]}\n")
    listen = [f"http://127.0.0.1:{port}"]
    rules: list[dict[str, Any]] = [
        {"handler": "status", "path": "/status"},
        {
            "handler": "proxy", "proxy_pass": f"http://127.0.0.1:{free_port()}",
            "headers": {"Authorization": "Bearer ${file:secret}", "X-Key": "${N_SECRET}"},
        },
    ]  # fmt: skip
    config = {"workers": 2, "logging": {"level": "trace"}, "listen": listen, "dispatch": rules}
    one = program(config=config, env={"N_SECRET": secrets[1]})
    assert one.config_file is not None
    said = [get(port, "/status"), get(port, "/status/metrics"), get(port, "/x")]
    said.append(command("check", "-config", str(one.config_file), directory=tmp_path, N_SECRET=secrets[1])[1])
    assert "npserver.json: ok" in said[-1]
    said.append(command("check", "-print", str(one.config_file), directory=tmp_path, N_SECRET=secrets[1])[1])
    assert '"Authorization": "Bearer ${file:secret}"' in said[-1]
    for wrong in (
        {"proxy_pass": "${file:secret}"},
        {"proxy_pass": "http://${N_SECRET}/?${file:secret}"},
        {"timeout": "${file:secret}"},
        {"retries": "${N_SECRET}"},
        {"headers": {"X-A": "${file:secret}\n"}},
        {"headers": {"${N_SECRET}": "$nonsense ${N_SECRET}"}},
        {"path": "${file:secret}"},
        {"allow": ["${N_SECRET}", "x${file:secret}"]},
        {"host": "${file:secret}:${N_SECRET}"},
        {"upstream": "${N_SECRET"},
        {"browse": "${file:secret}"},
    ):
        one.configure(json.dumps({**config, "dispatch": [rules[0], {**rules[1], **wrong}]}))
        status, text = command("check", "-config", str(one.config_file), directory=tmp_path, N_SECRET=secrets[1])
        assert status == 2, text
        said.append(text)
        said.append(command("reload", "-config", str(one.config_file), directory=tmp_path)[1])
        assert "reload failed" in said[-1]
    one.stop()
    assert leaks([secret.encode() for secret in secrets], "\n".join([*said, one.output, one.errors])) == []
