"""The one-line uses that the program is known for, word by word, on free ports.

Covers `cli.serve`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.backends import Backends
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs_localhost

Start = Callable[..., Program]
TIMEOUT_S = 30.0


def run(program: Start, line: str, places: dict[str, str] | None = None, **options: Any) -> Program:
    """Start the program by a command line in which `places` are put for what cannot be had here; all must be there."""
    for old, new in (places or {}).items():
        assert old in line
        line = line.replace(old, new)
    name, *words = shlex.split(line)
    assert name == "./npserver"
    return program(*words, **options)


def get(url: str, **options: Any) -> str:
    with httpx.Client(timeout=TIMEOUT_S, **options) as client:
        answer = client.get(url)
    assert answer.status_code == 200
    return answer.text


def call(port: int, data: bytes) -> bytes:
    """Send over TCP, end, and give the answer."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1000), b""))


@pytest.mark.parametrize("line", ["./npserver http://:8080", "./npserver http://:8080 -c 4096"])
def test_files_are_served_from_public(program: Start, public: Path, free_port: Callable[[], int], line: str) -> None:
    """Over IPv4 and IPv6."""
    port = free_port()
    run(program, line, {":8080": f":{port}"})
    page = (public / "index.html").read_text()
    assert get(f"http://127.0.0.1:{port}/") == get(f"http://[::1]:{port}/") == page


def test_without_a_directory_there_is_a_welcome_page(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Without `./public` it is `./html`, and without that a page that says what to do."""
    port = free_port()
    welcome = run(program, "./npserver http://:8080", {":8080": f":{port}"})
    assert "public" in get(f"http://127.0.0.1:{port}/")
    welcome.stop()
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("from html")
    run(program, "./npserver http://:8080", {":8080": f":{port}"})
    assert get(f"http://127.0.0.1:{port}/") == "from html"


@needs_localhost
def test_https_and_http_serve_the_same(
    program: Start, public: Path, free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path
) -> None:
    issued = certificates()
    shutil.copy(issued.cert, tmp_path / "fullchain.pem")
    shutil.copy(issued.key, tmp_path / "privkey.pem")
    secure, plain = free_port(), free_port()
    line = "./npserver https://:443 http://:80 -cert fullchain.pem -key privkey.pem"
    run(program, line, {":443": f":{secure}", ":80 ": f":{plain} "})
    page = (public / "index.html").read_text()
    assert get(f"https://localhost:{secure}/", verify=issued.client()) == page
    assert get(f"http://127.0.0.1:{plain}/") == page


@needs_localhost
def test_https_with_a_certificate_for_testing(
    program: Start, public: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """`sh make_test_cert.sh`, then serve with what it made."""
    shutil.copy(ROOT / "make_test_cert.sh", tmp_path)
    launcher = tmp_path / "npserver"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m npserver "$@"\n')
    launcher.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(["sh", "make_test_cert.sh"], cwd=tmp_path, env=environment, check=True, timeout=30)
    secure, plain = free_port(), free_port()
    line = "./npserver https://:443 http://:80 -cert testsite.crt -key testsite.key"
    run(program, line, {":443": f":{secure}", ":80 ": f":{plain} "})
    trusting = ssl.create_default_context(cafile=str(tmp_path / "testsite.crt"))
    assert get(f"https://localhost:{secure}/", verify=trusting) == (public / "index.html").read_text()


@needs_localhost
def test_a_port_is_forwarded(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    port = free_port()
    places = {":3307": f":{port}", "dbserver.internal:3306": f"localhost:{backends.tcp_echo()}"}
    run(program, "./npserver tcp://:3307 -to dbserver.internal:3306", places)
    assert call(port, b"SELECT 1") == b"SELECT 1"


def test_port_forward_to_a_name_that_does_not_resolve(program: Start, free_port: Callable[[], int]) -> None:
    """It starts; a connection is refused, and the log says why."""
    port = free_port()
    places = {":3307": f":{port}", "dbserver.internal": "dbserver.invalid"}
    running = run(program, "./npserver tcp://:3307 -to dbserver.internal:3306", places)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        try:
            assert connection.recv(100) == b""
        except ConnectionResetError:
            pass
    running.wait_for(r"dbserver\.invalid does not resolve")


def test_datagrams_are_relayed(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    port = free_port()
    places = {":5353": f":{port}", "8.8.8.8:53": f"127.0.0.1:{backends.udp_echo()}"}
    run(program, "./npserver udp://127.0.0.1:5353 -to udp://8.8.8.8:53", places)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(("127.0.0.1", port))
        client.send(b"question")
        assert client.recv(100) == b"question"


def test_a_unix_socket_serves_files(program: Start, public: Path, socket_dir: Path) -> None:
    run(program, "./npserver unix:///tmp/myapp.sock", {"/tmp/myapp.sock": f"{socket_dir}/myapp.sock"})
    transport = httpx.HTTPTransport(uds=str(socket_dir / "myapp.sock"))
    assert get("http://localhost/", transport=transport) == (public / "index.html").read_text()


def test_one_interface_is_listened_on(program: Start, public: Path, free_port: Callable[[], int]) -> None:
    """Other addresses of the machine are not listened on."""
    port = free_port()
    run(program, "./npserver http://192.168.1.10:8080", {"192.168.1.10:8080": f"127.0.0.2:{port}"})
    assert get(f"http://127.0.0.2:{port}/") == (public / "index.html").read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S)


@pytest.mark.parametrize("line", ["./npserver -config production.json", "./npserver -config config.json"])
def test_a_config_file_is_served(
    program: Start, public: Path, free_port: Callable[[], int], tmp_path: Path, line: str
) -> None:
    port = free_port()
    config = f'{{"listen": ["http://127.0.0.1:{port}"], /* comments are welcome */ }}'
    (tmp_path / line.split()[-1]).write_text(config)
    run(program, line, listens=[f"http://127.0.0.1:{port}"])
    assert get(f"http://127.0.0.1:{port}/") == (public / "index.html").read_text()
