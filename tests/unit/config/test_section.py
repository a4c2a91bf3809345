"""0 has one meaning for all limits and times: no limit. Keys where it means something else say what; others refuse it.

Covers `config.section` with `config.shape` and `config.decode`.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

import npserver
from npserver.config.load import load_text
from npserver.config.schema import Config
from npserver.config.section import NO_LIMIT, Section
from npserver.config.shape import Either, Key, Kind, Scalar, all_sections, section_keys
from npserver.config.units import MAX_SECONDS, MAX_SIZE
from npserver.errors import ConfigError
from npserver.web.handlers.proxy.config import ProxyTimeouts

#: What a size or a time may be without a limit; everything else that 0 can mean is told in the key's description.
LIMITS = (Kind.SIZE, Kind.SECONDS)


def scalar(key: Key) -> Scalar | None:
    options = key.shape.options if isinstance(key.shape, Either) else (key.shape,)
    return next((one for one in options if isinstance(one, Scalar) and one.kind in (*LIMITS, Kind.WHOLE)), None)


KEYS = [(struct, key, shape) for struct in all_sections(Config) for key in section_keys(struct).values()
        if (shape := scalar(key)) is not None]  # fmt: skip


@pytest.mark.parametrize(
    ("struct", "key", "shape"), KEYS, ids=[f"{struct.__name__}.{key.name}" for struct, key, _ in KEYS]
)
def test_each_number_says_what_0_means_or_refuses_it(struct: type[Section], key: Key, shape: Scalar) -> None:
    takes_zero = bool(shape.zero) if shape.kind in LIMITS else shape.low == 0
    assert takes_zero is (" 0 " in key.description or "; 0: " in key.description), "its description must tell, or not"
    if shape.zero == NO_LIMIT:
        assert key.description.endswith(f"; 0: {NO_LIMIT}")


def decoded(config: dict[str, Any]) -> Config:
    return load_text(json.dumps(config), "a.json").config


def test_without_a_limit_is_the_largest_that_is_possible() -> None:
    config = decoded({"timeouts": {"header": 0, "idle": "0s", "shutdown": 0}, "limits": {"max_body_size": "0k"}})
    assert config.timeouts.header == config.timeouts.idle == MAX_SECONDS
    assert config.timeouts.shutdown == 0
    assert config.limits.max_body_size == MAX_SIZE


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"limits": {"max_url_size": 0}}, "a.json:1:29: 'max_url_size': must be above 0, got 0"),
        ({"limits": {"max_header_size": "0k"}}, "a.json:1:32: 'max_header_size': must be above 0, got '0k'"),
        ({"timeouts": {"header": None}}, "got null"),
        (
            {"dispatch": [{"handler": "proxy", "proxy_pass": "http://a", "rewrite_cookies": "hosts"}]},
            "'rewrite_cookies': expected \"host\", true or false, got 'hosts'; did you mean 'host'?",
        ),
        ({"dns_forward": {"resolvers": ["9.9.9.9"], "timeout": "0s"}}, "must be above 0, got '0s'"),
        (
            {"dispatch": [{"handler": "forward", "forward_to": "tcp://a:1", "buffer_size": 0}]},
            "'buffer_size': must be above 0, got 0; without it the default applies",
        ),
    ],
)
def test_what_would_break_the_site_is_refused_at_its_place(config: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decoded(config)
    assert place in str(caught.value)


EMPTY = [
    ("allow", [], "'allow' names nothing: leave it out for all clients"),
    ("allow", "", "'allow' names nothing: leave it out for all clients"),
    ("from", [], "'from' names nothing: leave it out for all clients"),
    ("match", {"method": []}, "'method' names nothing: leave it out for all methods"),
    ("match", {"protocol": []}, "'protocol' names nothing: leave it out for all protocols"),
    ("not", {"method": "GET", "from": []}, "'from' names nothing: leave it out for all clients"),
    ("rate_limit", {"rate": "5/m", "methods": []}, "'methods' names nothing: leave it out for all methods"),
    ("jwt", {"keys": "k", "algorithms": []}, "'algorithms' names nothing: leave it out for those that fit the keys"),
    ("jwt", {"keys": "k", "issuer": ""}, "'issuer' names nothing: leave it out for any issuer"),
    ("jwt", {"keys": "k", "audience": []}, "'audience' names nothing: leave it out for any audience"),
]


@pytest.mark.parametrize(("key", "value", "message"), EMPTY)
def test_a_list_that_names_nobody_does_not_mean_everybody(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decoded({"dispatch": [{"handler": "respond", key: value}]})
    assert message in str(caught.value)


def test_a_forward_with_an_empty_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="'from' names nothing: leave it out for all clients"):
        decoded({"dispatch": [{"handler": "forward", "forward_to": "tcp://a:1", "from": []}]})


async def test_a_site_without_limits_works() -> None:
    """Every limit and time of 0 that is accepted, at once: requests, uploads, proxied ones."""
    zeros = {
        name: {
            key.name: 0 for key in section_keys(struct).values() if (found := scalar(key)) and found.zero == NO_LIMIT
        }
        for name, struct in (("timeouts", type(Config().timeouts)), ("limits", type(Config().limits)))
    }
    proxy = section_keys(ProxyTimeouts)
    config = {
        **zeros,
        "listen": [{"name": "front", "uri": "http://127.0.0.1:0"}, {"name": "app", "uri": "http://127.0.0.1:0"}],
        "dispatch": [{"listener": "app", "handler": "respond", "body": "$method $path"}],
    }
    async with npserver.serve(config, shutdown_s=0) as app:
        rule = {
            "listener": "front", "handler": "proxy", "proxy_pass": app.url("app"), "timeout": 0, "max_body_size": 0,
            "timeouts": dict.fromkeys(proxy, 0), "keepalive_idle_timeout": 0, "retries": 0, "keepalive_pool_size": 0,
        }  # fmt: skip
        async with npserver.serve({**config, "dispatch": [*config["dispatch"], rule]}, shutdown_s=0) as server:
            async with httpx.AsyncClient(base_url=server.url("front")) as client:
                assert (await client.get("/x")).text == "GET /x"
                assert (await client.post("/x", content=bytes(1_000_000))).text == "POST /x"
                assert (await client.get("/y")).text == "GET /y"
