"""`npserver explain -live`: as the running server would do it now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]


def run(one: Program, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "npserver", *words, "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_health_and_bans_are_those_of_the_moment(
    program: Start, free_port: Callable[[], int], backends: Backends, workers: int
) -> None:
    up = f"http://127.0.0.1:{backends.http()}"
    port = free_port()
    config: dict[str, Any] = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "networks": {"banned": {"learn": {"scan": "20/1m"}}},
        "upstreams": {
            "app": {
                "targets": [f"http://127.0.0.1:{free_port()}", up],
                "health_check": {"path": "/", "interval": 0.2, "timeout": 5},
            }
        },
        "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app", "deny": "banned"}],
    }
    one = program(config=config)
    url = f"http://127.0.0.1:{port}/"
    one.wait_until(lambda: "unhealthy" in run(one, "explain", url, "-live").stdout, "the result of the check")
    assert "unhealthy" not in run(one, "explain", url).stdout
    assert run(one, "explain", url, "-live", "-from", "203.0.113.9").stderr == ""
    assert run(one, "ban", "203.0.113.9").returncode == 0
    assert "is answered with 403" in run(one, "explain", url, "-live", "-from", "203.0.113.9").stdout
    assert "is passed to upstream://app" in run(one, "explain", url, "-from", "203.0.113.9").stdout
    one.configure({**config, "server_header": "other"})
    assert "uses another config than" in run(one, "explain", url, "-live").stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_drained_target_is_not_chosen(
    program: Start, free_port: Callable[[], int], backends: Backends, workers: int
) -> None:
    """Neither for requests, nor for connections, nor by DNS; the last one is waited for, or missed."""
    a, b, stream = backends.http("a"), backends.http("b"), backends.tcp_echo()
    port, relay, names = free_port(), free_port(), free_port()
    targets = [f"http://127.0.0.1:{a}", f"http://127.0.0.2:{b}"]
    config: dict[str, Any] = {
        "listen": [f"http://127.0.0.1:{port}", f"tcp://127.0.0.1:{relay}", f"udp://127.0.0.1:{names}"],
        "workers": workers,
        "upstreams": {"app": {"targets": targets}, "waiting": {"targets": targets[:1], "wait": "20s"}},
        "dispatch": [
            {"handler": "proxy", "path": "/", "proxy_pass": "upstream://app"},
            {"handler": "proxy", "path": "/wait", "proxy_pass": "upstream://waiting"},
            {"handler": "proxy", "path": "/one", "proxy_pass": targets[1]},
            {"handler": "forward", "listener": f"tcp://127.0.0.1:{relay}", "forward_to": f"tcp://127.0.0.1:{stream}"},
            {"handler": "dns"},
        ],
        "dns": {"app.home": {"A": "upstream://app"}},
    }
    one = program(config=config)
    one.wait_for("npserver 1")
    url = f"http://127.0.0.1:{port}"

    def explained(*words: str) -> list[str]:
        return run(one, "explain", *words, "-live").stdout.splitlines()

    for target in (targets[0], f"tcp://127.0.0.1:{stream}"):
        assert one.command("drain", "-force", "-no-wait", target)[0] == 0
    said = explained(url + "/")
    assert f"upstream://app: {targets[0]} (drained: npserver undrain), {targets[1]}, by" in said[-4]
    assert said[-1].endswith(f"is passed to upstream://app ({targets[1]})")
    assert "no target can be used now: it waits for one, up to 20 s" in "".join(explained(url + "/wait"))
    assert explained(url + "/one")[-1].endswith(f"is passed to {targets[1]}")
    assert explained(f"tcp://127.0.0.1:{relay}")[-1].endswith("the connection is closed")
    assert explained("app.home")[-1].endswith("is answered with NOERROR: 127.0.0.2")
    assert one.command("drain", "-force", "-no-wait", targets[1])[0] == 0
    assert explained(url + "/one")[-1].endswith("is answered with 503")
    assert explained(url + "/")[-1].endswith("is answered with 503")
    assert "npserver undrain" not in run(one, "explain", url + "/").stdout
    assert (get(port)[0], get(port, "/one")[0]) == (503, 503)
    for target in (*targets, f"tcp://127.0.0.1:{stream}"):
        assert one.command("undrain", target)[0] == 0
    assert "npserver undrain" not in "".join(explained(url + "/"))
    assert "is passed to" in explained(f"tcp://127.0.0.1:{relay}")[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_drained_listener_refuses(
    program: Start, free_port: Callable[[], int], backends: Backends, workers: int
) -> None:
    ports = [free_port() for _ in range(4)]
    uris = [f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(("http", "tcp", "udp", "udp"), ports, strict=True)]
    config: dict[str, Any] = {
        "listen": [{"uri": uris[0], "name": "web"}, *uris[1:]],
        "workers": workers,
        "dispatch": [
            {"handler": "respond"},
            {"handler": "forward", "listener": uris[1], "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}"},
            {"handler": "forward", "listener": uris[2], "forward_to": f"udp://127.0.0.1:{backends.udp_echo()}"},
            {"handler": "dns", "listener": uris[3]},
        ],
        "dns": {"www.home": {"A": "192.0.2.1"}},
    }
    one = program(config=config)
    one.wait_for("npserver 1")
    asked = [uris[0] + "/", uris[1], uris[2], "www.home"]
    for uri in uris:
        assert one.command("drain", uri)[0] == 0
    lines = [run(one, "explain", ask, "-live").stdout.splitlines() for ask in asked]
    assert [line[-1].split("result")[1].strip() for line in lines] == [
        "the connection is refused",
        "the connection is refused",
        "the datagram is dropped",
        "is answered with SERVFAIL",
    ]
    assert "refuses new connections; those that are open end in order (npserver undrain web)" in lines[0][-2]
    for ask in asked:
        assert "npserver undrain" not in run(one, "explain", ask).stdout
    for uri in uris:
        assert one.command("undrain", uri)[0] == 0
    assert "npserver undrain" not in run(one, "explain", asked[0], "-live").stdout


def test_a_server_that_does_not_run_is_said(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config={"listen": [f"http://127.0.0.1:{free_port()}"]})
    one.stop()
    done = run(one, "explain", "http://127.0.0.1/", "-live")
    assert done.returncode == 1
    assert done.stderr.startswith("npserver explain: no running server uses the config")
