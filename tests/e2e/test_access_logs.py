"""Several access logs of the whole program: the example of docs/access-logs.md, rotation, reload and shutdown."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.stage.backends import Backends
from tests.stage.ports import free_port
from tests.stage.program import ROOT, Program
from tests.stage.programs import find, needs
from tests.stage.syslog import read_journal
from tests.stage.syslog import text_of as message_text
from tests.stage.waiting import wait_until

Start = Callable[..., Program]


def example(number: int, port: int) -> dict[str, Any]:
    """Return a config of the page, that listens on a port of the test."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "access-logs.md").read_text(), re.DOTALL)
    config: dict[str, Any] = json.loads(blocks[number])
    config["listen"] = [f"http://127.0.0.1:{port}"]
    return config


def content_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("workers", [0, 2])
def test_the_example_of_the_page(program: Start, tmp_path: Path, workers: int) -> None:
    port = free_port()
    config = example(0, port)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a")
    config["dispatch"][0]["root"] = str(tmp_path / "www")
    config["workers"] = workers
    for number, one in enumerate(config["logging"]["access_log"]):
        if isinstance(one, str):
            config["logging"]["access_log"][number] = str(tmp_path / one)
        else:
            one["to"] = str(tmp_path / one["to"])
    access, errors, sample = [tmp_path / name for name in ("access.log", "errors.json", "sample.log")]
    running = program(config=config)
    for _ in range(10):
        assert httpx.get(f"http://127.0.0.1:{port}/a.txt?token=1").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/none?token=1").status_code == 404
    wait_until(lambda: content_of(access).count("\n") == 20, "all lines", 30, running.errors)
    wait_until(lambda: content_of(sample).count(" 404 ") == 10, "all errors", 30, running.errors)
    wait_until(lambda: content_of(errors).count("\n") == 10, "all errors", 30, running.errors)
    assert {json.loads(line)["status"] for line in errors.read_text().splitlines()} == {404}
    assert "token" not in sample.read_text()
    assert {line.split()[0] for line in sample.read_text().splitlines()} == {"127.0.0.0"}

    for one in (access, errors):
        one.rename(one.with_suffix(".1"))
    running.send_signal(signal.SIGUSR1)
    wait_until(lambda: access.exists() and errors.exists(), "new files", 30, running.errors)
    config["logging"]["access_log"] = [{"to": str(errors), "only": "path = /other"}]
    running.configure(config)
    running.send_signal(signal.SIGHUP)

    def is_reloaded() -> bool:
        httpx.get(f"http://127.0.0.1:{port}/other")
        return "GET" in content_of(errors)

    wait_until(is_reloaded, "the new config", 30, running.errors)
    httpx.get(f"http://127.0.0.1:{port}/other?last")
    running.stop()
    assert "/other?last 404" in errors.read_text()  # a shutdown writes what is waiting


def test_rules_without_a_log(program: Start, tmp_path: Path, certificates: Callable[..., Any]) -> None:
    """From memory, by an exchange, and through the proxy, over HTTP/1.1 and HTTP/2; they are counted all the same."""
    certificate = certificates("127.0.0.1")
    plain, web, file = free_port(), free_port(), tmp_path / "access.log"
    upstream = f"http://127.0.0.1:{plain}/quiet/target"
    rules = []
    for name in ("quiet", "told"):
        rules += [
            {"path": f"/{name}/ready", "handler": "respond", "body": "x", "log": name == "told"},
            {"path": f"/{name}/proxy", "handler": "proxy", "proxy_pass": upstream, "log": name == "told"},
        ]
    program(
        config={
            "workers": 1,
            "listen": [f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{web}"],
            "tls": {"cert": str(certificate.cert), "key": str(certificate.key)},
            "logging": {"access_log": str(file), "format": "json"},
            "dispatch": [
                *rules,
                {"path": "/quiet/target/**", "handler": "respond", "body": "x", "log": False},
                {"path": "/metrics", "handler": "status", "log": False},
            ],
        }
    )
    for version in ("--http1.1", "--http2"):
        for name in ("quiet", "told"):
            for path in ("ready", "proxy"):
                url = f"https://127.0.0.1:{web}/{name}/{path}"
                words = ["curl", "-sS", "--fail", version, "--cacert", str(certificate.ca), url, url, "-d", "", url]
                for part in (words[:-3], words):  # a GET twice, over one connection; and with a body
                    subprocess.run(part, check=True, capture_output=True, timeout=30)
    wait_until(lambda: content_of(file).count("\n") >= 20, "the lines", 30)
    targets = [json.loads(line)["target"] for line in file.read_text().splitlines()]
    assert sorted(set(targets)) == ["/told/proxy", "/told/ready"]
    assert len(targets) == 20
    metrics = httpx.get(f"http://127.0.0.1:{plain}/metrics", params={"format": "prometheus"}).text
    found = re.search(r"^npserver_http_requests_total (\d+)", metrics, re.MULTILINE)
    assert found is not None, metrics[:500]
    assert int(found[1]) == 40 + 20


@pytest.mark.parametrize("workers", [0, 2])
def test_fields_and_texts_of_ones_own(
    program: Start, tmp_path: Path, certificates: Callable[..., Any], workers: int
) -> None:
    """The example of the page, over TLS: a reload adds the logs, also for what was answered from memory or straight."""
    certificate = certificates("127.0.0.1")
    plain, web = free_port(), free_port()
    config = example(1, plain)
    config["listen"] = [f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{web}"]
    config["tls"] = {"cert": str(certificate.cert), "key": str(certificate.key)}
    config["workers"] = workers
    config["dispatch"][0]["proxy_pass"] = f"http://127.0.0.1:{plain}/up/"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a")
    (tmp_path / "www" / "up" / "shop").mkdir(parents=True)
    (tmp_path / "www" / "up" / "shop" / "b.txt").write_text("bb")
    config["dispatch"][1]["root"] = str(tmp_path / "www")
    logs = config["logging"]["access_log"]
    for one in logs:
        one["to"] = str(tmp_path / one["to"])
    config["logging"]["access_log"] = "off"
    running = program(config=config)
    words = ["curl", "-sS", "--fail", "--cacert", str(certificate.ca), "-A", 'a "quoted" name']
    urls = [f"https://127.0.0.1:{web}/{path}?q=1" for path in ("a.txt", "shop/b.txt")]
    for version in ("--http1.1", "--http2"):
        subprocess.run([*words, version, *urls * 3], check=True, capture_output=True, timeout=30)
    config["logging"]["access_log"] = logs
    running.configure(config)
    assert running.command("reload")[0] == 0, running.errors
    for version in ("--http1.1", "--http2"):
        subprocess.run([*words, version, *urls * 3], check=True, capture_output=True, timeout=30)
    running.stop()  # writes what waits

    entries = [json.loads(line) for line in content_of(Path(logs[0]["to"])).splitlines()]
    own = [one for one in entries if one["scheme"] == "https"]
    assert len(own) == 12
    assert len(entries) == 18  # those of the proxy to itself
    for one in own:
        is_shop = one["target"] == "/shop/b.txt?q=1"
        assert (one["rule"], one["team"]) == (("shop", "shop") if is_shop else ("site", "web"))
        assert one["tls"] == "TLSv1.3"
        assert "referer" not in one
        assert (one["upstream_ms"] is not None) == is_shop
        assert not is_shop or 0 < one["upstream_ms"] <= one["duration_ms"]
    lines = [json.loads(line) for line in content_of(Path(logs[1]["to"])).splitlines()]
    assert {tuple(one) for one in lines} == {("@timestamp", "source.ip", "http.response.status_code", "url.path")}
    assert {one["http.response.status_code"] for one in lines} == {200}
    pattern = (
        r'127\.0\.0\.1 - - \[[^]]+\] "GET \S+\?q=1 HTTP/(?:1\.1|2\.0)" 200 [12] \d+\.\d{3} '
        r'"a \\"quoted\\" name"'
    )
    texts = content_of(Path(logs[2]["to"])).splitlines()
    assert len(texts) == 18
    assert all(re.fullmatch(pattern, line) for line in texts), texts


def test_the_upstream_time_of_a_websocket_ends_with_the_101(program: Start, tmp_path: Path, backends: Backends) -> None:
    """It is not the time for which it was open."""
    port, log = free_port(), tmp_path / "access.log"
    running = program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 1,
            "dispatch": [{"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}"}],
            "logging": {
                "access_log": [{"to": str(log), "format": "$duration_ms $upstream_ms $upstream_head_ms"}],
            },
        }
    )
    opened = monotonic()
    with connect(f"ws://127.0.0.1:{port}/") as web_socket:
        web_socket.send("who")
        assert web_socket.recv() == "ws"
        wait_until(lambda: monotonic() > opened + 0.5, "half a second")
    running.stop()
    duration_ms, upstream_ms, head_ms = map(float, content_of(log).split())
    assert 0 < head_ms == upstream_ms < duration_ms
    assert duration_ms - upstream_ms > 100


def test_fields_of_responses(
    program: Start, tmp_path: Path, certificates: Callable[..., Any], backends: Backends
) -> None:
    """Of a file, a target, the cache, a page of the server, HEAD and a range, over HTTP/1.1 and HTTP/2."""
    certificate = certificates("127.0.0.1")
    web, app, file = free_port(), backends.http(), tmp_path / "access.json"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("hello")
    own = {"response_headers": {"X-Own": "yes"}}
    running = program(
        config={
            "workers": 1,
            "listen": [f"https://127.0.0.1:{web}"],
            "tls": {"cert": str(certificate.cert), "key": str(certificate.key)},
            "logging": {
                "access_log": [{"to": str(file), "format": "$target $status $response.content-type $response.x-own"}]
            },
            "dispatch": [
                {"path": "/app/**", "handler": "proxy", "proxy_pass": f"http://127.0.0.1:{app}", "cache": True, **own},
                {"path": "/**", "handler": "static", "root": str(tmp_path / "www"), **own},
            ],
        }
    )
    url = f"https://127.0.0.1:{web}"
    for version in ("--http1.1", "--http2"):
        words = ["curl", "-sS", version, "--cacert", str(certificate.ca), "-o", "/dev/null"]
        for more in (["/a.txt"], ["/a.txt"], ["/none"], ["/a.txt", "-I"], ["/a.txt", "-r", "1-2"], ["/app/x"]):
            subprocess.run([*words, url + more[0], *more[1:]], check=True, capture_output=True, timeout=30)
    running.stop()
    lines = file.read_text().splitlines()
    text = "text/plain;\\x20charset=utf-8 yes"
    expected = [f"/a.txt 200 {text}", f"/a.txt 200 {text}", f"/none 404 {text}", f"/a.txt 200 {text}",
                f"/a.txt 206 {text}"]  # fmt: skip
    assert [line for line in lines if "/app/" not in line] == expected * 2
    assert all(re.fullmatch(r"/app/x 200 \S+ yes", line) for line in lines if "/app/" in line)


def test_attempts_at_targets_are_timed(program: Start, tmp_path: Path, backends: Backends) -> None:
    """A target that is down, the next one; a second request over the same connection; and one from the cache."""
    port, down, app, file = free_port(), free_port(), backends.http(), tmp_path / "access.json"
    names = ("tried", "retries", "upstream_ms", "upstream_head_ms", "upstream_connect_ms", "cache_status")
    rule = {"handler": "proxy", "proxy_pass": "upstream://app"}
    running = program(
        config={
            "workers": 1,
            "listen": [f"http://127.0.0.1:{port}"],
            "logging": {"access_log": [{"to": str(file), "fields": {name: f"${name}" for name in names}}]},
            "upstreams": {
                "app": {"targets": [f"http://127.0.0.1:{down}", {"uri": f"http://127.0.0.1:{app}", "backup": True}]}
            },
            "dispatch": [
                {**rule, "path": "/kept/**", "cache": {"default_ttl": "1m"}},
                {**rule, "path": "/quiet/**", "log": False},
                {**rule, "path": "/**"},
            ],
        }
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for path in ("/first", "/second", "/quiet/a", "/kept/a", "/kept/a"):
            assert client.get(path).status_code == 200
    running.stop()
    first, second, filled, hit = [json.loads(line) for line in file.read_text().splitlines()]
    assert (first["retries"], second["retries"]) == (1, 0)
    assert first["tried"] == f"http://127.0.0.1:{down}, http://127.0.0.1:{app}"
    assert second["tried"] == filled["tried"] == f"http://127.0.0.1:{app}"
    assert first["upstream_connect_ms"] > 0
    assert second["upstream_connect_ms"] < 1
    for one in (first, second, filled):
        assert 0 < one["upstream_head_ms"] <= one["upstream_ms"] <= one["duration_ms"]
    assert (filled["cache_status"], hit["cache_status"]) == ("fwd=uri-miss; stored", "hit")
    assert (hit["tried"], hit["upstream_ms"], hit["retries"]) == ("", None, 0)


RSYSLOG = """
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" port="{port}" address="127.0.0.1")
input(type="imudp" port="{port}" address="127.0.0.1")
input(type="imuxsock" Socket="{directory}/log" CreatePath="on")
template(name="all" type="string"
    string="%syslogfacility-text%.%syslogseverity-text% %app-name% %inputname% %msg%\\n")
action(type="omfile" file="{directory}/received" template="all")
"""


@needs("rsyslogd")
def test_rsyslog_reads_what_two_workers_send(program: Start, socket_dir: Path) -> None:
    """Over TCP, UDP and its socket; it is restarted in between, and gets over TCP what waits."""
    port, logs = free_port(), free_port()
    (socket_dir / "rsyslog.conf").write_text(RSYSLOG.format(port=logs, directory=socket_dir))
    words = [str(find("rsyslogd")), "-n", "-f", str(socket_dir / "rsyslog.conf"), "-i", str(socket_dir / "pid")]
    daemon = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    received = socket_dir / "received"
    outputs = [f"syslog+tcp://127.0.0.1:{logs}", f"syslog://127.0.0.1:{logs}", f"syslog://{socket_dir}/log"]
    try:
        wait_until(lambda: (socket_dir / "log").exists(), "rsyslog", 30)
        running = program(
            config={
                "workers": 2,
                "listen": [f"http://127.0.0.1:{port}"],
                "logging": {"access_log": [{"to": one, "format": "json"} for one in outputs]},
                "dispatch": [{"handler": "respond", "body": "x"}],
            }
        )
        for number in range(30):
            httpx.get(f"http://127.0.0.1:{port}/{number}", headers={"User-Agent": b"a\xe9 <13>1 - - \x22\\"})

        def came(by: str) -> list[str]:
            lines = received.read_text().splitlines() if received.exists() else []
            return [line for line in lines if f" {by} " in line]

        for by in ("imtcp", "imudp", "imuxsock"):
            wait_until(lambda by=by: len(came(by)) >= 30, by, 30, running.errors)  # type: ignore[misc]
            assert len(came(by)) == 30
            assert all(line.startswith("local7.info npserver ") for line in came(by))
            entries = [json.loads(line[line.index("{") :]) for line in came(by)]
            assert sorted(int(entry["target"][1:]) for entry in entries) == list(range(30))
        daemon.terminate()
        daemon.wait(30)
        wait_until(lambda: "cannot send the access log" in running.errors or _ask(port), "the failure", 30)
        daemon = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(30):
            httpx.get(f"http://127.0.0.1:{port}/later/{number}")
        running.stop()  # sends what waits
        wait_until(lambda: sum("later" in line for line in came("imtcp")) >= 30, "the rest", 30, running.errors)
    finally:
        daemon.terminate()
        daemon.wait(30)


def _ask(port: int) -> bool:
    httpx.get(f"http://127.0.0.1:{port}/between")
    return False


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shutdown_sends_the_last_lines(program: Start, socket_dir: Path, workers: int) -> None:
    """The journal as a socket of this test; and a syslog server that does not take anything holds nobody up."""
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, socket.create_server(("127.0.0.1", 0)) as deaf:
        journal.bind(str(socket_dir / "journal"))
        journal.settimeout(20)
        running = program(
            config={
                "workers": workers,
                "listen": [f"http://127.0.0.1:{port}"],
                "logging": {
                    "access_log": [
                        f"journald://{socket_dir}/journal", f"syslog+tcp://127.0.0.1:{deaf.getsockname()[1]}",
                        "syslog+tcp://127.0.0.1:1",
                    ],
                },
                "dispatch": [{"handler": "respond", "body": "x"}],
            }
        )  # fmt: skip
        for number in range(8):
            httpx.get(f"http://127.0.0.1:{port}/{number}")
        running.stop()
        entries = [read_journal(journal.recv(65536)) for _ in range(8)]
        assert sorted(entry["NPSERVER_TARGET"] for entry in entries) == [f"/{number}" for number in range(8)]
        assert {entry["NPSERVER_STATUS"] for entry in entries} == {"200"}
        taken, _ = deaf.accept()
        with taken:
            taken.settimeout(20)
            first = taken.recv(65536)
            size, _, rest = first.partition(b" ")
            assert "GET" in message_text(rest[: int(size)])
