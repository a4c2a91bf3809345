"""HTTP rules compiled, and the messages about those that are wrong.

Covers `web.compile_route`, `web.checks`, `web.handlers.redirect.compile`, `web.handlers.respond.compile`,
`web.handlers.static.compile`, `web.handlers.status.compile`, `web.middleware.basic_auth.compile`,
`web.middleware.compress.compile`,
`web.middleware.cors.compile`, `web.middleware.headers.compile`,
`web.middleware.maintenance.compile`, `web.middleware.networks.compile`,
`web.middleware.security_headers.compile` and `web.middleware.order`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from npserver.web.config import Compression
from npserver.web.handlers.static.compile import _compression

Check = Callable[..., list[str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Yield `check(*rules, **config)`: everything the config's compilation says, errors and warnings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "public").mkdir()

    def run(*rules: dict[str, Any], **config: Any) -> list[str]:
        text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": list(rules), **config}, indent=1)
        try:
            runtime = dry_run(load_text(text, "config"), Directory())
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return [str(problem) for problem in runtime.warnings]

    yield run
    asyncio.set_event_loop(None)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"handler": "respond", "path": "api"}, "must start with a slash"),
        ({"handler": "respond", "path": "/x*/x"}, "a star stands for a whole segment"),
        ({"handler": "respond", "path": "/*/x*"}, "a star stands for a whole segment"),
        ({"handler": "respond", "host": "~^www"}, "host '~^www' is not a valid host name"),
        (
            {"handler": "respond", "host": "a b"},
            "host 'a b' is not a valid host name; several names are written",
        ),
        ({"handler": "respond", "body": "$hots"}, "did you mean $host?"),
        ({"handler": "respond", "content_type": "a\r\nb"}, "is not a valid media type"),
        ({"handler": "redirect", "to": "https://$hots"}, "did you mean $host?"),
        ({"handler": "redirect", "to": ""}, "is not a URL"),
        ({"handler": "respond", "security_headers": {"csp": "a\nb"}}, "is not a valid header value"),
        ({"handler": "respond", "security_headers": {"referrer": ""}}, "null sends none"),
        ({"handler": "respond", "security_headers": {"hsts": 0, "hsts_subdomains": True}}, "says nothing"),
        ({"handler": "respond", "security_headers": {"frame": "allow"}}, "frame"),
        ({"handler": "respond", "security_headers": "stric"}, "strict"),
        ({"handler": "respond", "cors": {}}, "origins"),
        ({"handler": "respond", "cors": {"origins": []}}, "'origins' is empty"),
        (
            {"handler": "respond", "cors": {"origins": "https://a.*.test"}},
            "is not an origin; write scheme, host and port alone, with a star only before a domain, such as 'https://*.app",
        ),
        ({"handler": "respond", "cors": {"origins": "https://a.test:99999"}}, "port 99999 is out of range"),
        ({"handler": "respond", "cors": {"origins": "http://[::1]:0"}}, "port 0 is out of range"),
        ({"handler": "respond", "cors": {"origins": "https://a.example/"}}, "alone, such as 'https://a.example'"),
        ({"handler": "respond", "cors": {"origins": ["a.example"]}}, "'a.example' is not an origin"),
        ({"handler": "respond", "cors": {"origins": ["https://a*.example"]}}, "is not an origin"),
        ({"handler": "respond", "cors": {"origins": "https://a.example:443"}}, "leave out the default port"),
        (
            {"handler": "respond", "cors": {"origins": "https://a.example"}, "match": {"method": ["GET", "PUT"]}},
            "does not name OPTIONS; add it",
        ),
        ({"handler": "respond", "cors": {"origins": "null"}}, "sandboxed pages"),
        ({"handler": "respond", "cors": {"origins": ["*", "https://a.example"]}}, "the others say nothing"),
        ({"handler": "respond", "cors": {"origins": "*", "credentials": True}}, "any page on the web"),
        (
            {"handler": "respond", "cors": {"origins": "https://a.example", "credentials": True, "expose": "*"}},
            "name the fields",
        ),
        ({"handler": "respond", "cors": {"origins": "https://a.example", "methods": "put"}}, "write 'PUT'"),
        ({"handler": "respond", "cors": {"origins": "https://a.example", "headers": ["A, B"]}}, "several as a list"),
        *[
            ({"handler": "respond", "cors": {"origins": "https://a.example", key: ["GET", "ä"]}}, "'ä' is not a valid")
            for key in ("methods", "headers", "expose")
        ],
        ({"handler": "respond", "maintenance": {"page": "none.html"}}, "none.html"),
        ({"handler": "respond", "maintenance": {"file": "public"}}, "'public' is a directory, which always exists"),
        ({"handler": "respond", "maintenance": {"file": "none/down"}}, "the directory of 'none/down' does not exist"),
        ({"handler": "respond", "maintenance": {"except": "ofice"}}, "unknown network 'ofice'"),
        ({"handler": "respond", "maintenance": {"enabled": False, "except": "ofice"}}, "unknown network 'ofice'"),
        ({"handler": "respond", "maintenance": {"pages": "x"}}, "did you mean 'page'?"),
        (
            {"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "gzip": {"types": ["pdf"]}},
            "'pdf' is not a media type; write \"application/pdf\"",
        ),
        ({"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "gzip": {"codings": []}}, "nothing is compressed"),
        ({"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "gzip": {"max_size": 1}}, "unknown key 'max_size'"),
        ({"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "gzip": "yes"}, "gzip"),
        ({"handler": "respond", "response_headers": {"a b": "x"}}, "is not a valid header name"),
        ({"handler": "respond", "headers": {"Content-Length": "1"}}, "set by the server itself"),
        (
            {"handler": "respond", "headers": {"Server": None}},
            "header Server is set by the server itself (server_header)",
        ),
        ({"handler": "respond", "headers": {"+Date": "now"}}, "header Date is set by the server itself"),
        (
            {"handler": "respond", "basic_auth": {"users": {"joe": "secret"}}},
            "user 'joe': not a password hash (not shown",
        ),
        ({"handler": "respond", "basic_auth": {"users": {}}}, "nobody can come in"),
        ({"handler": "respond", "allow": "hoem"}, "unknown network 'hoem'"),
        ({"handler": "respond", "error_pages": {"404": "none.html"}}, "No such file"),
        ({"handler": "respond", "error_pages": {"200": "none.html"}}, "write a status from 400 to 599"),
        ({"handler": "static", "root": "./nowhere"}, "does not exist yet"),
        ({"handler": "static", "root": "./public/f"}, "does not exist yet"),
        ({"handler": "static", "mime": {"x": "no type"}}, "is not a valid media type"),
        ({"handler": "static", "cache_control": "a\nb"}, "is not a valid header value"),
        ({"handler": "static", "index": "../x"}, "is not a file name"),
        ({"handler": "static", "try_files": ["=4x4"]}, "is not a status"),
        ({"handler": "static", "try_files": ["=404", "$path"]}, "never tried"),
        ({"handler": "static", "try_files": ["$paht"]}, "did you mean $path?"),
    ],
)
def test_each_mistake_is_named_once_and_in_its_place(check: Check, rule: dict[str, Any], message: str) -> None:
    problems = check(rule, listen=["http://127.0.0.1:0", "http://127.0.0.1:1"])
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert problems[0].startswith("config:")


GUARDS: list[dict[str, Any]] = [
    {"allow": "office"},
    {"from": ["10.0.0.0/8"]},
    {"basic_auth": {"users": {"joe": "$scrypt$ln=1,r=1,p=1$" + "A" * 22 + "$" + "A" * 43}}},
    {"jwt": {"secret": "x" * 32, "audience": "a"}},
    {"forward_auth": {"to": "http://127.0.0.1:1"}},
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: next(iter(guard)))
@pytest.mark.parametrize("listen", ["http://127.0.0.1:0", "http://[::1]:0", "http://localhost:0", "unix:///tmp/x.sock"])
def test_buttons_are_for_those_who_are_let_in(check: Check, guard: dict[str, Any], listen: str) -> None:
    rule = {"handler": "status", "buttons": True}
    networks = {"office": ["10.1.0.0/16"]}
    assert check({**rule, **guard}, listen=["http://:0", listen], networks=networks) == []
    assert check(rule, listen=[listen]) == []


@pytest.mark.parametrize(
    "guard", [{}, {"deny": "10.0.0.0/8"}, {"allow": "0.0.0.0/0"}, {"allow": ["::/0", "10.0.0.1"]}, {"host": "a.home"}]
)
def test_buttons_for_everybody_are_refused(check: Check, guard: dict[str, Any]) -> None:
    problems = check(
        {"handler": "status", "buttons": True, **guard}, listen=["http://127.0.0.1:0", "http://:0", "http://10.0.0.1:1"]
    )
    assert len(problems) == 1
    assert problems[0].startswith("config:10:15: 'buttons': everybody who reaches http://:0 could drain targets: add")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("headers", {"X-User": "$jwt.sub"}),
        ("response_headers", {"X-A": ["a", "b $jwt.sub"]}),
        ("body", "for $jwt.sub"),
    ],
)
def test_a_claim_without_a_token_is_told(check: Check, key: str, value: Any) -> None:
    rule = {"handler": "respond", key: value}
    (problem,) = check(rule)
    assert problem.endswith("warning: the rule has no 'jwt': $jwt.sub is always empty")
    assert check({**rule, "jwt": {"secret": "x" * 32, "audience": "a"}}) == []


def test_a_claim_for_a_script_is_told(check: Check) -> None:
    (problem,) = [
        one for one in check({"handler": "fastcgi", "to": "unix:///x", "env": {"A": "$jwt.a"}}) if "jwt" in one
    ]
    assert problem.endswith("warning: the rule has no 'jwt': $jwt.a is always empty")


def test_a_rule_that_can_never_match_is_named(check: Check) -> None:
    problems = check(
        {"handler": "respond", "path": "/a/**"},
        {"handler": "respond", "path": "/a/*", "host": "example.com"},
        {"handler": "respond", "path": "/a/*"},
    )
    assert len(problems) == 1
    assert "this rule is never used: the rule at config:6:" in problems[0]


@pytest.mark.parametrize(
    ("path", "wanted"), [("/", "/**"), ("/api/", "/api/**")], ids=["the path of all", "a path below"]
)
@pytest.mark.parametrize(
    "handler",
    [{"handler": "static"}, {"handler": "proxy", "proxy_pass": "http://127.0.0.1:8000"}],
    ids=["static", "proxy"],
)
def test_a_path_that_ends_in_a_slash_is_hinted_at_with_the_star_it_lacks(
    check: Check, handler: dict[str, Any], path: str, wanted: str
) -> None:
    problems = check({"path": path, **handler}, listen=["http://127.0.0.1:0", "http://127.0.0.1:1"])
    meaning = "is this path alone, without those below it: for all of them, write"
    assert problems == [f'config:8:12: warning: \'path\': "{path}" {meaning} "{wanted}"']


@pytest.mark.parametrize(
    "rules",
    [
        [{"path": "/", "handler": "static"}, {"path": "/**", "handler": "respond"}],
        [{"path": "/", "host": "*.a.b", "handler": "static"}, {"path": "/*", "handler": "respond"}],
        [{"path": "/api/", "host": "a.b", "handler": "static"}, {"path": "/api/**", "handler": "respond"}],
        [{"path": "/", "handler": "redirect", "to": "/x"}, {"path": "/x/", "handler": "respond"}],
    ],
    ids=["the others have a rule", "with a wildcard", "with a host", "answers made here"],
)
def test_a_path_that_ends_in_a_slash_is_meant_where_another_rule_has_the_others(
    check: Check, rules: list[dict[str, Any]]
) -> None:
    assert check(*rules) == []


def test_a_rule_for_one_path_is_hinted_at_where_only_wider_rules_have_the_others(check: Check) -> None:
    problems = check({"path": "/api/", "handler": "static"}, {"path": "/**", "handler": "static"})
    assert len(problems) == 1
    assert 'write "/api/**"' in problems[0]


def test_a_host_that_is_no_name_of_a_host_is_hinted_at_in_its_place(check: Check) -> None:
    problems = check({"handler": "respond", "host": ["a.b", ".c.d"]}, {"handler": "respond", "host": "_"})
    assert [problem.split("warning: ")[0] for problem in problems] == ["config:10:5: ", "config:15:12: "]
    assert 'write ["c.d", "*.c.d"]' in problems[0]
    assert "leave 'host' out" in problems[1]


def test_all_mistakes_are_named_at_once(check: Check) -> None:
    problems = check(
        {"handler": "respond", "path": "x", "host": ["a b", "ok"], "body": "$x", "response_headers": {"": "x"}},
        {"handler": "static", "mime": {"a": "b"}, "try_files": ["$z"]},
        error_pages={"999": "x"},
    )
    assert len(problems) == 7


def test_a_good_config_has_nothing_to_say(check: Check) -> None:
    rules = [
        {"handler": "static", "try_files": ["$path", "index.html", "=404"], "gzip": {"types": ["font/*"]}},
        {"handler": "redirect", "path": "/old/**", "to": "https://$host$path$query", "host": "*.example.com"},
        {"handler": "respond", "path": "/status", "body": "$$"},
        {"handler": "status"},
    ]
    assert check(*rules[:2], rules[3]) == []


@pytest.mark.parametrize(("own", "is_on"), [(True, True), (False, False), (None, False)])
def test_gzip_of_a_static_rule_counts_more_than_the_global_one(own: bool | None, is_on: bool) -> None:
    default = Compression(enabled=False, codings=["br"])
    found = _compression(own, default)
    assert found.enabled is is_on
    assert found.codings == ["br"] or own is False
