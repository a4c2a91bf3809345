"""`npserver check` and `npserver schema`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from npserver.cli import main
from npserver.tls.groups import describe_groups

# ruff: noqa: E501 - configs stand as people write them

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA) -> Path:
    """A working directory with a certificate and files to serve."""
    monkeypatch.chdir(tmp_path)
    write_certificate(authority.issue_cert("localhost"), tmp_path, "fullchain.pem", "privkey.pem")
    (tmp_path / "public").mkdir()
    return tmp_path


def write_certificate(issued: trustme.LeafCert, place: Path, cert: str, key: str) -> None:
    issued.private_key_pem.write_to_path(place / key)
    for index, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(place / cert, append=index > 0)


def test_the_full_sample_is_good(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "config.json").write_bytes((EXAMPLES / "full.json").read_bytes())
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert err == (
        "config.json:91:5: warning: this rule is never used: listener 'sidecar' has the rule at config.json:83:5 "
        'already; tell them apart by "from" or "sni"\n'
    )
    assert out == (
        "config.json: ok, 1 warning\n"
        "  web http://:8080             /**  files from ./public\n"
        "  web http://:8080             /api/**  proxy to http://127.0.0.1:8000\n"
        "  web http://:8080             /app/**  proxy to upstream://app_pool\n"
        "  web http://:8080             /ws/**  proxy to upstream://ws_pool\n"
        "  tls https://:8443            /**  files from ./public\n"
        "  tls https://:8443            /api/**  proxy to http://127.0.0.1:8000\n"
        "  dns-in udp://127.0.0.1:5353  name server of zones example.com; of zones derived from names: local\n"
        "  db-local tcp://:3307         forward to tcp://dbserver.internal:3306\n"
        "  sidecar tcp://:9000          forward to udp://statsd.internal:8125\n"
        "  gameproxy udp://:27015       forward to tcp://gameserver.internal:27015\n"
        "  unix:///tmp/app.sock         /**  files from ./public\n"
        f"  TLS                          {describe_groups()}\n"
    )


def test_certificates_that_a_start_would_make_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    rule = '{"handler": "respond", "host": ["nas.home", "localhost"], "body": "x"}'
    file.write_text(f'{{"listen": ["https://:443"], "store": "store", "dispatch": [{rule}]}}')
    assert main(["check", str(file)]) == 0
    assert "  TLS           certificate of the local authority for nas.home, localhost\n" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["sidecar", "game-proxy", "websocket", "split-horizon", "database-tunnel"])
def test_the_other_examples_are_good(place: Path, name: str) -> None:
    text = (EXAMPLES / f"{name}.json").read_text(encoding="utf-8")
    for directory in ("./dashboard", "/var/www/company"):
        text = text.replace(directory, "./public")
    (place / "config.json").write_text(text, encoding="utf-8")
    assert main(["check", "-config", "config.json"]) == 0


def test_everything_wrong_is_said_at_once_with_its_place(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.json").write_text(
        """{
  "listen": [{ "name": "web", "uri": "http://:8080" }, "tcp://127.0.0.1:8080", "https://:443"],
  "tls": { "cert": "none.pem", "key": "privkey.pem" },
  "networks": { "lan": ["10.0.0.0/99"] },
  "upstreams": { "pool": { "targets": ["http://a:1"] } },
  "dispatch": [
    { "listener": "wbe", "handler": "static", "index": "/a" },
    { "listener": "web", "handler": "proxy", "path": "/a/**", "proxy_pass": "upstream://pol" },
    { "listener": "web", "handler": "static", "path": "a" },
    { "listener": "web", "handler": "static", "path": "/x", "deny": "wan", "error_pages": { "404": "none.html" } },
    { "listener": "web", "handler": "respond", "path": "/y/**" },
    { "listener": "web", "handler": "respond", "path": "/y/*" }
  ],
  "dns": { "a.b": { "A": "10.0.0.300" } },
  "logging": { "access_log": "none/access.log" }
}""",
        encoding="utf-8",
    )
    assert main(["check", "-config=bad.json"]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    for start in (
        "bad.json:2:56: port 8080 bound twice: 'tcp://127.0.0.1:8080' overlaps 'http://:8080' at bad.json:2:14",
        "bad.json:3:20: cannot read 'none.pem'",
        "bad.json:4:25: network '10.0.0.0/99'",
        "bad.json:7:19: unknown listener 'wbe'; did you mean 'web'?",
        "bad.json:7:56: 'index': '/a' is not a file name",
        "bad.json:8:77: unknown upstream 'pol'; did you mean 'pool'?",
        "bad.json:9:55: path 'a' must start with a slash",
        "bad.json:10:69: unknown network 'wan'",
        "bad.json:10:100: error page 'none.html'",
        "bad.json:12:5: warning: this rule is never used",
        "bad.json:14:10: warning: 'dns' is not used: no rule has handler 'dns'",
        "bad.json:14:26: ",
        "bad.json:15:30: no directory './none' to write the access log to",
    ):
        assert any(line.startswith(start) for line in lines), f"{start}\nnot in\n{err}"
    assert lines == sorted(lines, key=lambda line: [int(number) for number in line.split(":")[1:3]])
    assert out.startswith(f"bad.json: {len(lines) - 2} errors, 2 warnings")


MIXED = """{
  "listen": [ { "name": 1, "uri": "http://:1" }, { "name": "web", "uri": "htp://:8080" }, "http://:8081", "http://:8081" ],
  "workrs": 2,
  "limits": { "max_body_size": "64 apples" },
  "dispatch": [
    { "handler": "sttic" },
    { "listener": "http://:8081", "handler": "static", "root": "./config.json" },
    { "listener": "http://:8081", "handler": "proxy", "path": "/a/**", "proxy_pass": "upstream://ap" },
    { "listener": "http://:8081", "handler": "proxy", "path": "/b/**", "browse": 1, "proxy_pass": "ftp://127.0.0.1:1" },
  ]
}"""


def test_faults_of_the_text_hide_none_of_its_meaning(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "config.json").write_text(MIXED)
    assert main(["check"]) == 2
    places = [line.partition(": ")[0].removeprefix("config.json:") for line in capsys.readouterr().err.splitlines()]
    lines = MIXED.splitlines()
    marks = [
        "1, ",
        '"htp',
        '"http://:8081" ]',
        '"workrs"',
        '"64',
        '"sttic',
        '"./config.json',
        '"upstream:',
        '"browse": 1',
        '"ftp',
    ]
    found = [next((n, line.index(mark)) for n, line in enumerate(lines, 1) if mark in line) for mark in marks]
    assert places == [f"{line}:{column + 1}" for line, column in found]


@pytest.mark.parametrize(
    "text",
    [
        '{"listen": [{"uri": 5, "name": "web"}], "dispatch": [{"listener": "web", "handler": "static", "root": "public"}]}',
        '{"listen": ["http://:1"], "upstreams": {"app": {"targets": 5}}, "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app"}]}',
        '{"listen": ["http://:1"], "networks": {"lan": 5}, "dispatch": [{"handler": "static", "root": "public", "allow": "lan"}]}',
        '{"listen": ["https://:1"], "tls": 5, "dispatch": [{"handler": "static", "root": "public"}]}',
    ],
)
def test_what_only_follows_from_a_fault_is_not_said(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (place / "config.json").write_text(text)
    assert main(["check"]) == 2
    assert ": expected " in (error := capsys.readouterr().err)
    assert len(error.splitlines()) == 1, error


def test_a_key_of_another_certificate(place: Path, authority: trustme.CA, capsys: pytest.CaptureFixture[str]) -> None:
    write_certificate(authority.issue_cert("localhost"), place, "other.pem", "other.key")
    config = '{"listen": ["https://:443"],\n "tls": {"cert": "fullchain.pem", "key": "other.key"}}'
    (place / "config.json").write_text(config, encoding="utf-8")
    assert main(["check"]) == 2
    assert "config.json:2:42: 'other.key' cannot be used" in capsys.readouterr().err


def test_an_expired_certificate_fails_the_check(
    place: Path, authority: trustme.CA, capsys: pytest.CaptureFixture[str]
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued = authority.issue_cert("localhost", not_before=yesterday - timedelta(days=9), not_after=yesterday)
    write_certificate(issued, place, "old.pem", "old.key")
    config = '{"listen": ["https://:443"],\n "tls": {"cert": "old.pem", "key": "old.key"}}'
    (place / "config.json").write_text(config, encoding="utf-8")
    assert main(["check"]) == 2
    assert "config.json:2:18: 'old.pem' expired on" in capsys.readouterr().err


def test_wrong_usage_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-help"]) == 0
    assert main(["check", "-bogus"]) == 2
    assert main(["check", "a.json", "b.json"]) == 2
    assert main(["check", "none.json"]) == 2
    assert "none.json: cannot read the config: No such file or directory" in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "npserver configuration"
    assert main(["schema", "-markdown"]) == 0
    assert capsys.readouterr().out.startswith("# Configuration reference")
    assert main(["schema", "-bogus"]) == 2


@pytest.mark.parametrize(
    ("key", "value", "place_of_it"),
    [
        ("jwt", '{"keys": ["a.pem"]}', "'keys': expected a string, got a list"),
        ("jwt", '{"kyes": "a.pem"}', "unknown key 'kyes' in 'jwt'; did you mean 'keys'?"),
        ("not", '{"path": "/x"}', "unknown key 'path' in 'not'"),
        ("networks", '{"a": {"file": ["a.txt"]}}', "'file': expected a string, got a list"),
        ("networks", '{"a": {"learn": {"login": 5.5}}}', "'login': expected a string or a whole number, got 5.5"),
    ],
)
def test_a_faulty_key_is_one_error_without_an_echo(
    place: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, place_of_it: str
) -> None:
    rule = '{"handler": "respond"' + (f', "{key}": {value}}}' if key != "networks" else "}")
    top = f', "networks": {value}' if key == "networks" else ""
    (place / "config.json").write_text(f'{{"listen": ["http://127.0.0.1:0"], "dispatch": [{rule}]{top}}}')
    assert main(["check"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.endswith(place_of_it)


def test_an_error_in_another_object_is_no_echo(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = '{"handler": "respond", "path": "/a", "jwt": {"kyes": "a.pem"}}, {"handler": "respond", "jwt": {}}'
    (place / "config.json").write_text(f'{{"listen": ["http://127.0.0.1:0"], "dispatch": [{rules}]}}')
    assert main(["check"]) == 2
    assert [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "unknown key 'kyes' in 'jwt'; did you mean 'keys'?",
        "'jwt' needs either 'keys' or 'secret'",
    ]


def test_tests_of_the_config_are_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = {"ask": "http://x/", "gets": 204}
    config = {"listen": ["http://:80"], "dispatch": [{"handler": "respond", "status": 204}], "expect": [test, test]}
    (place / "config.json").write_text(json.dumps(config))
    assert main(["check"]) == 0
    assert "  expect      2 tests, passed\n" in capsys.readouterr().out
    (place / "config.json").write_text(json.dumps({**config, "expect": [test, {**test, "gets": 200}]}))
    assert main(["check"]) == 2
    assert "expected the answer 200, but it is answered with 204" in capsys.readouterr().err
