"""Compiling fastcgi rules, and the messages for invalid ones. Covers `web.handlers.fastcgi.config`."""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS
from npserver.web.handlers.fastcgi.compile import compile_fastcgi
from npserver.web.handlers.fastcgi.handler import FastcgiHandler
from tests.stage.exchanges import exchange
from tests.stage.fastcgi import PARAMS, pairs, records
from tests.stage.worker import make_context

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY, NOGROUP = pwd.getpwnam("nobody")[2:4]
UNIX, TCP = "unix:///run/php.sock", "tcp://127.0.0.1:9000"


def compiled(rule: dict[str, Any], root: Path, **config: Any) -> tuple[FastcgiHandler | None, list[str]]:
    text = json.dumps({**config, "dispatch": [{"handler": "fastcgi", "to": TCP, "root": str(root), **rule}]})
    document = load_text(text, "test.json")
    compilation = Compilation(document, make_context())
    UPSTREAMS.of(compilation)
    section: Any = document.config.dispatch[0]
    handler = compile_fastcgi(compilation, ("dispatch", 0), section)
    return handler, [str(problem) for problem in compilation.report.problems]


@pytest.mark.parametrize(
    ("rule", "upstream", "message"),
    [
        ({"to": "http://a:1"}, None, "expected a tcp or unix target, or upstream://name, got 'http://a:1'"),
        ({"to": "ssl://a:1"}, None, "expected a tcp or unix target"),
        ({"to": "fcgi://a:1"}, None, "did you mean 'tcp://'?"),
        ({"to": "127.0.0.1:9000"}, None, "expected as in 'tcp://127.0.0.1:9000'"),
        ({"to": "/run/php.sock"}, None, "expected 'unix:///run/php.sock'"),
        ({"to": "tcp://a:1/x.php"}, None, "tcp addresses have no path"),
        ({"to": "upstream://phq"}, {"targets": [UNIX]}, "did you mean 'php'"),
        ({"to": "upstream://php/x"}, {"targets": [UNIX]}, "a FastCGI server has no path, got '/x'"),
        (
            {"to": "upstream://php"},
            {"targets": ["http://a:1"]},
            "the targets of upstream 'php' speak http, not FastCGI",
        ),
        ({"to": "upstream://php"}, {"targets": [{"uri": TCP, "send_proxy": "v1"}]}, "has 'send_proxy'"),
        ({"to": "upstream://php"}, {"targets": [UNIX], "health_check": {}}, 'set \'type\' to "fastcgi" or "tcp"'),
        ({"to": "upstream://php", "balance": "hash"}, {"targets": [TCP]}, "needs 'hash' of upstream 'php'"),
        ({"to": "unix:///none/php.sock"}, None, "there is no socket '/none/php.sock' yet"),
        ({"to": "unix:///dev/null"}, None, "'/dev/null' is not a socket"),
        ({"keepalive_pool_size": 5}, None, "'keepalive_pool_size' has no effect: set 'keepalive' to true"),
        ({"keepalive_time": 5}, None, "'keepalive_time' has no effect"),
        ({"root": "none"}, None, "does not exist yet"),
        ({"root": __file__}, None, "is not a directory"),
        ({"index": "../index.php"}, None, "is not a file name"),
        ({"index": ["index.html", "/x"]}, None, "'/x' is not a file name"),
        ({"fallback": "index.html"}, None, "'index.html' is not a script below 'root': it ends in none of .php"),
        ({"fallback": "../index.php"}, None, "is not a script below 'root'"),
        ({"split": []}, None, "'split' names no ending"),
        ({"split": "php"}, None, "'php' is not the ending of a file name, such as \".php\""),
        ({"split": [".php", "/.x"]}, None, "test.json:1:"),
        ({"env": {"A B": "x"}}, None, "'A B' is not the name of a variable"),
        ({"env": {"A": "$nothing"}}, None, "no variable $nothing"),
        ({"env": {"A": "$upstream"}}, None, "$upstream is empty"),
        ({"script_root": "app"}, None, "expected an absolute path, got 'app'"),
        ({"request_buffering": {"directory": "none"}}, None, "'none' is not a directory"),
        ({"cache_control": "\n"}, None, "is not a valid header value"),
        ({"mime": {"x": "y"}}, None, "is not a valid media type"),
    ],
)
def test_each_mistake_is_reported(
    rule: dict[str, Any], upstream: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    config = {} if upstream is None else {"upstreams": {"php": upstream}}
    _, problems = compiled(rule, tmp_path, **config)
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert problems[0].startswith("test.json:1:")


@pytest.mark.parametrize(
    ("rule", "upstream"),
    [
        ({}, None),
        ({"fallback": None, "split": [".php", ".phtml"], "index": "index.phtml"}, None),
        ({"to": "upstream://php"}, {"targets": [UNIX, TCP], "health_check": {"type": "tcp"}, "wait": "9s"}),
        ({"to": "upstream://php"}, {"targets": [TCP], "health_check": {}}),
        ({"to": "upstream://php"}, {"targets": [UNIX, TCP], "health_check": {"type": "fastcgi", "path": "/ping"}}),
        ({"script_root": "/", "env": {"A_1": "$client_ip"}}, None),
    ],
)
def test_valid_rules_are_compiled(rule: dict[str, Any], upstream: dict[str, Any] | None, tmp_path: Path) -> None:
    config = {} if upstream is None else {"upstreams": {"php": upstream}}
    handler, problems = compiled(rule, tmp_path, **config)
    assert problems == []
    assert handler is not None
    assert repr(handler).startswith(f"<FastcgiHandler <Scripts <Root {tmp_path}>>")


def test_the_socket_that_is_there_is_proposed(socket_dir: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_dir / "php8.4-fpm.sock"))
        _, (problem,) = compiled({"to": f"unix://{socket_dir}/php8.2-fpm.sock"}, tmp_path)
        assert problem.endswith(f"did you mean '{socket_dir}/php8.4-fpm.sock'?")
        assert compiled({"to": f"unix://{socket_dir}/php8.4-fpm.sock"}, tmp_path)[1] == []


def test_connections_are_kept_only_if_the_rule_says_so(tmp_path: Path) -> None:
    """Each keeps a process of PHP-FPM from serving others."""
    handler, _ = compiled({"keepalive": True, "keepalive_time": 0}, tmp_path)
    assert handler is not None
    assert handler.gateway.max_age_s > 1e6  # no limit
    for rule, size in (
        ({}, 0),
        ({"keepalive": True}, 64),
        ({"keepalive": True, "keepalive_pool_size": 2}, 2),
        ({"to": "upstream://php"}, 0),
        ({"to": "upstream://php", "keepalive": True}, 9),
    ):
        upstreams = {"php": {"targets": [TCP], "keepalive_pool_size": 9}}
        handler, _ = compiled(rule, tmp_path, upstreams=upstreams)
        assert handler is not None
        assert handler.gateway.settings.client.pool_size == size, rule


def test_times_are_those_of_the_rule(tmp_path: Path) -> None:
    rule = {"timeouts": {"connect": 1, "send": 2, "response": 3, "read": 4}}
    handler, _ = compiled(rule, tmp_path)
    assert handler is not None
    client = handler.gateway.settings.client
    assert (client.send_timeout_s, client.response_timeout_s, client.read_timeout_s) == (2, 3, 4)
    assert handler.gateway.upstream.section.proxy_timeout_seconds == 1
    assert handler.gateway.settings.connect_key == "dispatch[0].timeouts.connect"
    handler, _ = compiled({"timeout": 9}, tmp_path)
    assert handler is not None
    client = handler.gateway.settings.client
    assert (client.response_timeout_s, client.read_key) == (9, "dispatch[0].timeout")


@pytest.mark.parametrize(("named", "known"), [(None, ""), ("/app/public/", "/app/public"), ("/", "")])
def test_the_server_may_know_the_scripts_by_another_path(named: str | None, known: str, tmp_path: Path) -> None:
    (tmp_path / "a.php").touch()
    handler, _ = compiled({"script_root": named}, tmp_path)
    assert handler is not None
    target = handler.gateway.upstream.targets[0]
    head = handler.gateway.compose(exchange(path="/a.php/x", query=""), target)
    (params,) = [content for kind, _, content in records(head) if kind == PARAMS and content]
    assert pairs(params)[b"SCRIPT_FILENAME"].decode() == f"{known if named else tmp_path}/a.php"


def test_the_values_of_variables_are_secret(tmp_path: Path) -> None:
    _, problems = compiled({"env": {"DB_PASSWORD": "hunter2 $nothing"}}, tmp_path)
    assert "hunter2" not in "".join(problems)


@AS_ROOT
@pytest.mark.parametrize(
    ("owner", "mode", "may"),
    [((0, 0), 0o600, False), ((0, 0), 0o666, True), ((NOBODY, 0), 0o600, True), ((0, NOGROUP), 0o660, True),
     ((0, NOGROUP), 0o606, False)],
)  # fmt: skip
def test_root_checks_the_socket_for_the_user_of_the_config(
    owner: tuple[int, int], mode: int, may: bool, socket_dir: Path, tmp_path: Path
) -> None:
    path = socket_dir / "fpm.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.chown(path, *owner)
        path.chmod(mode)
        _, problems = compiled({"to": f"unix://{path}"}, tmp_path, user=str(NOBODY), group=str(NOGROUP))
    assert ["no permission to connect" in problem for problem in problems] == ([] if may else [True])
