"""Access logs of an imported config beside those of nginx itself: the same lines, but for times and escaped quotes."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path

from npserver.importing.nginx import import_nginx
from tests.stage.nginx import running_nginx
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.waiting import wait_until

pytestmark = needs("nginx")

FORMATS = """
log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for" $http_host $scheme $sent_http_x_a $arg_a $cookie_b $request_time';
log_format lines escape=json '{"when":"$time_iso8601","status":$status,"line":"$request","agent":"$http_user_agent"}';
"""
SERVER = "location / { add_header X-A given; return 200 hello; }"
_TIMES = re.compile(r"\d{2}/\w{3}/\d{4}:[\d:]+ [+-]\d{4}|\d\.\d{3}$|\d{4}-\d\d-\d\dT[^\"]*|:\d{4,5} ")


def _ask(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/x%20y?a=1", headers={"User-Agent": 'a b "c', "Cookie": "b=2"})
    assert connection.getresponse().read() == b"hello"
    connection.close()


def _lines(directory: Path) -> list[str]:
    files = [directory / "main.log", directory / "lines.log"]
    found = wait_until(
        lambda: (
            [file.read_text() for file in files] if all(file.exists() and file.read_text() for file in files) else None
        ),
        "a line in both logs",
    )
    return [_TIMES.sub("TIME", line.rstrip("\n")) for line in found]


def test_the_lines_are_alike(tmp_path: Path, program: Callable[..., Program]) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    logs = f"access_log {theirs}/main.log main; access_log {theirs}/lines.log lines;"
    with running_nginx(theirs, logs + SERVER, http=FORMATS) as url:
        _ask(int(url.rpartition(":")[2]))
        expected = _lines(theirs)
    port = free_port()
    file = tmp_path / "nginx.conf"
    logs = logs.replace(str(theirs), str(ours))
    file.write_text(f"http {{ {FORMATS} {logs} server {{ listen 127.0.0.1:{port}; {SERVER} }} }}")
    program(config=import_nginx(str(file)).text, listens=[f"http://127.0.0.1:{port}"])
    _ask(port)
    text, fields = _lines(ours)
    assert text.replace(r"\"", r"\x22") == expected[0]
    assert json.loads(fields) == json.loads(expected[1])
