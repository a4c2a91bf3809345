"""`cache` of proxy rules as `check` sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS
from npserver.web.handlers.proxy.cache.directory import NO_SEED, directory_of
from npserver.web.handlers.proxy.cache.handler import CacheHandler
from npserver.web.handlers.proxy.compile import compile_proxy
from tests.stage.worker import make_context


def compiled(*caches: Any, file: str = "test.json", **config: Any) -> tuple[list[str], list[Any]]:
    """Compile a rule for each cache. Return the messages and the handlers."""
    rules = [
        {"handler": "proxy", "proxy_pass": "upstream://app", "path": f"/{n}", "cache": c} for n, c in enumerate(caches)
    ]
    config = {"upstreams": {"app": {"targets": ["http://127.0.0.1:1"], **config}}, "dispatch": rules}
    document = load_text(msgspec.json.encode(config).decode(), file)
    compilation = Compilation(document, make_context())
    UPSTREAMS.of(compilation)
    handlers = [compile_proxy(compilation, ("dispatch", n), rule) for n, rule in enumerate(document.config.dispatch)]  # type: ignore[arg-type]
    return [str(problem) for problem in compilation.report.problems], handlers


def test_true_stands_for_the_defaults() -> None:
    messages, handlers = compiled(True, {})
    assert messages == []
    assert all(isinstance(one, CacheHandler) for one in handlers)
    assert handlers[0].store is handlers[1].store
    assert handlers[0].store.directory.startswith("/dev/shm/npserver-cache-")
    assert not Path(handlers[0].store.directory).exists(), "it is made at the first use"
    assert type(compiled(False)[1][0]) is not CacheHandler


def test_the_largest_response_goes_by_the_size_unless_it_is_set() -> None:
    sizes = [{}, {"max_size": "1g"}, {"max_size": "100m"}, {"max_size": "1m"}, {"max_size": "1g", "max_object": "50m"}]
    assert [compiled(cache)[0] for cache in sizes] == [[]] * 5
    assert [compiled(cache)[1][0].max_object for cache in sizes] == [16 << 20, 16 << 20, 10 << 20, 104857, 50 << 20]


def test_each_config_has_a_directory_of_its_own() -> None:
    directories = {compiled(True, file=file)[1][0].store.directory for file in ("a.json", "b.json")}
    assert len(directories) == 2
    assert directory_of(load_text("{}", "a.json"), True, NO_SEED) in directories


@pytest.mark.parametrize(
    ("caches", "message"),
    [
        ([{"max_object": "30m"}], "'max_object' of 31457280 bytes is more than a tenth of 'max_size'"),
        ([{"key": "$hots$request_uri"}], "no variable $hots, did you mean $host?"),
        ([{"key": "$authority"}], "'key': '$authority' does not hold $request_uri: all paths would share one response"),
        ([{"key": "$host$request_uri"}], "'key' does not hold $authority"),
        ([{"key": "$authority$request_uri$upstream"}], "'key': $upstream is empty: it is the target"),
        ([{"key": "$authority$path"}], "'key' does not hold $request_uri or $query"),
        ([{"directory": "/nowhere/cache"}], "'directory': '/nowhere/cache' is not a directory; make it first"),
        (
            [True, {"max_size": "1g"}],
            "which has no directory either, and so the same store; give both the same, or each its own 'directory'",
        ),
    ],
)
def test_wrong_use_is_found(caches: list[Any], message: str) -> None:
    messages, _ = compiled(*caches)
    assert len(messages) == 1
    assert message in messages[0]


def test_a_directory_that_others_can_write_to_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    messages, _ = compiled({"directory": str(tmp_path)})
    assert len(messages) == 1
    assert "so it is not used: `chmod 700` it" in messages[0]


def test_a_directory_with_files_of_others_is_an_error(tmp_path: Path) -> None:
    for used in ("lost+found", ".new", "ab"):
        (tmp_path / used).mkdir()
        assert compiled({"directory": str(tmp_path)})[0] == []
    (tmp_path / ".new").rmdir()
    messages, _ = compiled({"directory": str(tmp_path)})
    assert len(messages) == 1
    assert "is not empty: it has 'ab'; name a directory that only the cache uses" in messages[0]
    tmp_path.chmod(0o777)
    assert "chmod 700" in compiled({"directory": str(tmp_path)})[0][0]


def test_the_directory_of_the_config_is_not_used_by_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    messages, _ = compiled({"directory": ""}, file=str(tmp_path / "config.json"))
    assert len(messages) == 1
    assert "'directory': '' is not empty: it has 'config.json'" in messages[0]


def test_sticky_makes_a_cache_useless() -> None:
    messages, _ = compiled(True, sticky={})
    assert len(messages) == 1
    assert "'sticky', whose cookie comes with each first response" in messages[0]


@pytest.mark.parametrize(
    "cache", [{"max_sice": 1}, {"key": 1}, {"wait": 0}, {"max_entries": 1}, {"max_size": 0}, "yes"]
)
def test_wrong_values_are_errors(cache: Any) -> None:
    with pytest.raises(ConfigError):
        compiled(cache)


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ({"method": "POST"}, "'cache' has no effect: it is for GET and HEAD, which 'method' leaves out"),
        ({"method": ["PUT", "POST"]}, "'cache' has no effect: it is for GET and HEAD"),
        ({"protocol": "websocket"}, "'cache' has no effect: WebSockets are not stored"),
        ({"method": ["GET", "POST"], "protocol": ["websocket", "http"]}, ""),
    ],
)
def test_a_cache_for_what_is_never_stored_is_warned_of(match: dict[str, Any], message: str) -> None:
    rule = {"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "cache": True, "match": match}
    document = load_text(msgspec.json.encode({"dispatch": [rule]}).decode(), "test.json")
    compilation = Compilation(document, make_context())
    compile_proxy(compilation, ("dispatch", 0), document.config.dispatch[0])  # type: ignore[arg-type]
    assert [message in str(one) for one in compilation.report.problems] == [True] * bool(message)


def test_each_share_of_a_split_has_responses_of_its_own() -> None:
    rule = {
        "handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "cache": True,
        "split": {"http://127.0.0.1:2": "10%"}, "mirror": {"to": "http://127.0.0.1:3"},
    }  # fmt: skip
    document = load_text(msgspec.json.encode({"dispatch": [rule]}).decode(), "test.json")
    compilation = Compilation(document, make_context())
    UPSTREAMS.of(compilation)
    split: Any = compile_proxy(compilation, ("dispatch", 0), document.config.dispatch[0])  # type: ignore[arg-type]
    parts = split._handlers
    assert [type(one) for one in parts] == [CacheHandler, CacheHandler]
    assert parts[0]._namespace != parts[1]._namespace
    assert parts[0].store is parts[1].store
