"""`fields` and `format` of access logs: values, clients that try to break lines, and what may not be in a log."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.observe.log_formats import FORMATS, Format
from npserver.observe.request_record import Attempt, RequestRecord
from npserver.program.logs import compile_logging
from npserver.runtime.compilation import Compilation
from tests.stage.exchanges import exchange
from tests.stage.worker import make_context
from tests.unit.observe.test_access_log import record, request

HOSTILE = '\x00\r\n","status":200,"x":"\x1b]0;x\x07\x9b\u202e\u2028"\\ \\" é [a] - \t\xff'


def compiled(log: dict[str, Any], **more: Any) -> Compilation:
    whole = {
        "listen": ["http://:8080"], "logging": {"access_log": [{"to": "a.log", **log}]},
        "tracing": {"to": "http://127.0.0.1:4318"}, **more,
    }  # fmt: skip
    text = json.dumps(whole)
    return Compilation(load_text(text, "c.json"), make_context())


def made(log: dict[str, Any], **more: Any) -> Format:
    compilation = compiled(log, **more)
    (one,) = compile_logging(compilation)
    assert not compilation.report.problems
    assert one.own is not None
    return one.own("query" in log.get("hide", ()))


def in_json(text: str, one: RequestRecord, **more: Any) -> Any:
    line = made({"standard_fields": False, "fields": {"x": text}}, **more).request(one)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()
    return json.loads(line)["x"]


def attempts() -> list[Attempt]:
    return [
        Attempt("http://10.0.0.1", started=1.0, connected=1.0, answered=1.25, ended=1.25),
        Attempt("http://10.0.0.2", started=2.0, connected=2.125, answered=2.25, ended=2.5),
    ]


def full_record(**changes: Any) -> RequestRecord:
    fields = b"Content-Type: text/html\r\nvary: Accept\r\nVary:Origin\r\nLocation: /b?secret=3\r\n"
    route = SimpleNamespace(change_fields=None)
    whole = exchange(
        route=route,
        response_fields=fields,
        attempts=attempts(),
        trace=SimpleNamespace(trace_id="ab" * 16),
        cache_status=b"fwd=uri-miss",
    )
    known = {"status": 502, "received": 7, "upstream": "http://10.0.0.2", "rule": "shop", "exchange": whole}
    return record(request("/A?b", user_agent="test"), **{**known, **changes})


def test_fields_come_after_those_that_json_has() -> None:
    log = made({"fields": {"ua": "$header.user-agent", "service": "shop"}})
    entry = json.loads(log.request(full_record()))
    standard = json.loads(FORMATS["json"](False, False).request(full_record()))
    assert list(entry) == [*standard, "ua", "service"]
    assert entry["ua"] == "test"
    session = json.loads(log.session("tcp", "db", "10.0.0.9:1", "tcp://db", 1, 2, 1.5, ""))
    assert session["type"] == "session"


def test_a_field_of_json_is_replaced_or_left_out() -> None:
    """Every other one is as it was."""
    one = full_record()
    entry = json.loads(made({"fields": {"status": "s$status", "referer": None, "user_agent": None}}).request(one))
    standard = json.loads(FORMATS["json"](False, False).request(one))
    for gone in ("referer", "user_agent"):
        del standard[gone]
    standard["status"] = "s502"
    for each in (entry, standard):
        del each["time"]
    assert entry == standard


def test_a_text_as_nginx_has_it() -> None:
    text = '$client_ip - $user [$time_local] "$method $target $protocol" $status "$header.referer" "$header.user-agent"'
    line = made({"format": text}).request(full_record(user="a b"))
    assert re.fullmatch(r'203\.0\.113\.9 - a\\x20b \[\S+ \S+\] "GET /A\?b HTTP/1\.1" 502 "-" "test"\n', line)
    assert made({"format": text}).session("tcp", "db", "10.0.0.9:1", "tcp://db", 1, 2, 1.5, "") == ""


@pytest.mark.parametrize("name", ["method", "target", "header.user-agent", "user", "authority", "upstream"])
def test_clients_cannot_break_lines(name: str) -> None:
    one = request("/a", user_agent=HOSTILE.replace("\u202e", "").replace("\u2028", ""))
    one.method, one.authority, one.target = HOSTILE, HOSTILE, f"/{HOSTILE}"
    whole = record(one, user=HOSTILE, upstream=HOSTILE)
    assert '","status":200,' in in_json(f"a ${name} b", whole)
    line = made({"format": f'a ${name} "b ${name}" c'}).request(whole)
    assert line[:-1].isprintable()
    found = re.fullmatch(r'a (\S+) "b (?:[^"\\]|\\.)*" c\n', line)
    assert found is not None, line


def test_values_have_a_bounded_length() -> None:
    one = record(request("/a", user_agent="x" * 10_000))
    assert in_json("$header.user-agent", one) == "x" * 4096 + "..."
    assert len(made({"format": "$header.user-agent"}).request(one)) == 4096 + 4


@pytest.mark.parametrize("form", ["fields", "format"])
def test_what_is_hidden(form: str) -> None:
    """The client's address comes masked; so do those that the exchange has."""
    text = "$target $request_uri $query $response.location $header.referer $header.Referer $remote_ip $client_port"
    log: dict[str, Any] = {"fields": {"x": text}} if form == "fields" else {"format": text}
    one = full_record(request=request("/a?secret=1", referer="http://r/?secret=2#secret"))
    line = made({**log, "hide": ["query", "client_ip"]}).request(one)
    assert "secret" not in line
    assert "198.51.100.0" in line
    assert "4711" not in line
