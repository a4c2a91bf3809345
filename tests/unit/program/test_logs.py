"""What `check` says of the logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli.check import main as check


def said_of(tmp_path: Path, capsys: pytest.CaptureFixture[str], logging: str, status: int = 2) -> str:
    file = tmp_path / "npserver.json"
    file.write_text(f'{{ "listen": ["http://127.0.0.1:8080"],\n"logging": {logging} }}')
    assert check(["-config", str(file)]) == status
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ('[^"off"]', "'off' has no place in a list: leave it out"),
        ('["stdout", { "to": ^"stdout" }]', "'stdout' is the destination of two access logs"),
        ('["stdout", ^"./none/a.log"]', "no directory"),
        ('[{ "to": ^"./none/a.log" }]', "to write the access log to"),
        ("[^{}]", 'needs "to"'),
        ('[{ "to": "a.log", "sample": ^"half" }]', 'expected a share from "0%" to "100%"'),
        ('[{ "to": "a.log", "only": ^"status > high" }]', "'only': column 10: expected a status"),
        ('[{ "to": "a.log", "only": ^"" }]', "names nothing"),
        ('[{ "to": "a.log", "hide": [^"body"] }]', '"query", "client_ip"'),
        ('[{ "to": ^"sislog://a" }]', "did you mean syslog://?"),
        ('["stdout", ^"syslog://a:0"]', "expected syslog://HOST:PORT"),
        ('^"syslog+tcp://"', "expected syslog+tcp://HOST:PORT"),
        ('[{ "to": "syslog://a", "ca": ^"ca.pem" }]', "'ca' is for 'to' with syslog+tls:// alone"),
        ('[{ "to": "syslog+tls://a", "ca": ^"ca.pem" }]', "cannot read certificates from 'ca.pem': No such file"),
        (
            '[{ "to": "a.log", "format": ^"xml" }]',
            "\"combined\" or a text with $variables, got 'xml'",
        ),
        ('[{ "to": "a.log", "format": ^"$stats" }]', "'format': no variable $stats, did you mean $status?"),
        ('[{ "to": "a.log", "format": ^"$http_referer" }]', "did you mean $header.referer?"),
        ('[{ "to": "a.log", "format": ^"$status\\n$host" }]', "a line cannot have control characters"),
        (
            '[{ "to": "a.log", "fields": { "a": ^"$remote_addr" } }]',
            "no variable $remote_addr, did you mean $client_ip?",
        ),
        ('[{ "to": "a.log", "fields": { "": ^"$status" } }]', "a field needs a name"),
        ('[{ "to": "a.log", "format": ^"$request" }]', "did you mean $method $target $protocol?"),
        ('[{ "to": "a.log", "format": ^"combined", "fields": { "a": "$host" } }]', 'are of format "json"'),
        ('[{ "to": "a.log", "feilds": {} }]', "did you mean"),
        ('[{ "to": "a.log", "fields": { "agent": ^null } }]', "'agent' is none; those are time, type, client_ip"),
        ('[{ "to": "a.log", "standard_fields": ^false }]', "lines would be empty"),
        ('[{ "to": "a.log", "fields": { "a": ^"$header.Authorization" } }]', "could log in with $header.Authorization"),
        ('[{ "to": "a.log", "format": ^"$header.cookie" }]', '"credentials": true in this log'),
        ('[{ "to": "a.log", "format": ^"$response.Set-Cookie" }]', "could log in with $response.Set-Cookie"),
        ('[{ "to": "a.log", "format": ^"$sent_http_content_type" }]', "did you mean $response.content-type?"),
        ('[{ "to": "a.log", "hide": ["query"], "fields": { "a": ^"$query.q" } }]', "'hide' has the query"),
        ('[{ "to": "a.log", "hide": ["client_ip"], "format": ^"$header.x-forwarded-for" }]', "addresses of clients"),
    ],
)
def test_what_is_wrong_has_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, message: str
) -> None:
    """The place is marked."""
    before = '"logging": { "access_log": '
    said = said_of(tmp_path, capsys, f'{{ "access_log": {log.replace("^", "")} }}')
    assert "^" not in log or f":2:{len(before) + log.index('^') + 1}:" in said
    assert message in said


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ('^"sislog://a"', "did you mean syslog://?"),
        ('{ "to": ^"journal://" }', "did you mean journald://?"),
        ('{ "to": "syslog://a", "ca": ^"ca.pem" }', "'ca' is for 'to' with syslog+tls:// alone"),
        ('{ "to": ^"./none/a.log" }', "to write the query log to"),
        ('{ "to": "q.log", ^"only": "status >= 400" }', "unknown key"),
    ],
)
def test_the_query_log_is_checked_as_access_logs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, message: str
) -> None:
    before = '"logging": { "query_log": '
    said = said_of(tmp_path, capsys, f'{{ "query_log": {log.replace("^", "")} }}')
    assert f":2:{len(before) + log.index('^') + 1}:" in said
    assert message in said


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ('"format": "$cookie.session_id"', "$cookie.session_id may be a secret"),
        ('"fields": { "a": "$header.x-api-key" }', "$header.x-api-key may be a secret"),
        ('"fields": { "a": "$query.token" }', "$query.token may be a secret"),
        ('"fields": { "a": "$trace_id" }', "without 'tracing' $trace_id is always empty"),
        ('"fields": { "a": "$cookie.lang $cookie.sidebar $header.x-request-id" }', ""),
        ('"credentials": true, "format": "$header.cookie $header.authorization $query.token"', ""),
    ],
)
def test_secrets_are_there_only_knowingly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, said: str
) -> None:
    told = said_of(tmp_path, capsys, f'{{ "access_log": [{{ "to": "a.log", {log} }}] }}', 0)
    assert said in told
    assert bool(told) is bool(said)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ('"only": "type = query"', "no effect of 'type = query': access logs have queries with 'logging.dns_queries'"),
        ('"only": "type = session", "format": "combined"', "no effect of 'type': sessions and queries have lines in"),
        ('"only": "type = session and duration > 1s or status = 500"', ""),
    ],
)
def test_lines_that_a_log_never_has(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, said: str) -> None:
    told = said_of(tmp_path, capsys, f'{{ "access_log": [{{ "to": "a.log", {log} }}] }}', 0)
    assert said in told
    assert bool(told) is bool(said)


def test_a_sample_of_everything_has_no_errors_to_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(tmp_path, capsys, '{ "access_log": [{ "to": "a.log", "keep_errors": true }] }', 0)
    assert "no effect: all lines are written without 'sample'" in said
