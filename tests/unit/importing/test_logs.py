"""nginx's logs as `logging`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported

MAIN = """log_format main '$remote_addr [$time_local] "$request" $status $body_bytes_sent '
    '"$http_user_agent" rt=$request_time $upstream_response_time $pipe';"""


def logging(directory: Path, http: str) -> dict[str, Any]:
    found: dict[str, Any] = imported(directory, f"http {{ {http} server {{ listen 80; return 204; }} }}")
    return {**found.get("logging", {}), "text": found["text"]}


def test_a_format_is_a_text_with_our_variables(tmp_path: Path) -> None:
    found = logging(tmp_path, f"{MAIN} access_log /var/log/a.log main buffer=32k;")
    assert found["access_log"] == [
        {
            "to": "/var/log/a.log",
            "format": '$client_ip [$time_local] "$method $target $protocol" $status $sent_bytes '
            '"${header.user-agent}" rt=$duration $upstream_ms -',
        }
    ]
    assert "$upstream_response_time is $upstream_ms here" in found["text"]
    assert "variable $pipe: no counterpart" in found["text"]


def test_json_has_fields(tmp_path: Path) -> None:
    written = """log_format j escape=json '{"time":"$time_iso8601","status":$status,"host":"$host"}';"""
    assert logging(tmp_path, f"{written} access_log /a.json j;")["access_log"] == [
        {
            "to": "/a.json",
            "standard_fields": False,
            "fields": {"time": "$time_iso", "status": "$status", "host": "$host"},
        }
    ]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("access_log /a;", "/a"),
        ("access_log off;", "off"),
        ("access_log /a; access_log /a;", "/a"),
        ("access_log /dev/stdout;", "stdout"),
        ("access_log syslog:server=10.0.0.1:514,tag=x;", "syslog://10.0.0.1:514"),
        ("access_log syslog:server=unix:/dev/log,nohostname;", "/dev/log"),
        ("log_format x '$http_authorization'; access_log /a x;", "/a"),
        ("log_format x escape=json '{\"a\":[$status]}'; access_log /a x;", "/a"),
        (f"log_format x escape=json '{'[' * 8000}'; access_log /a x;", "/a"),
        (f"log_format x '{'$host' * 2000}'; access_log /a x;", "/a"),
        ("log_format x nothing; access_log /a x;", "/a"),
        (
            "access_log /a; access_log /b if=$x;",
            [{"to": "/a", "format": "combined"}, {"to": "/b", "format": "combined"}],
        ),
        ("access_log logs/$host.log;", None),
    ],
)
def test_destinations_and_what_has_no_format(tmp_path: Path, written: str, found: Any) -> None:
    assert logging(tmp_path, written).get("access_log") == found


def test_the_level_of_the_error_log(tmp_path: Path) -> None:
    assert logging(tmp_path, "error_log /e.log crit;")["level"] == "fatal"
