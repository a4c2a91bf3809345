"""What `check` says of networks that come from data, and of their URLs (`sources.compile`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.network_sets.events import EVENTS
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from tests.stage.countries import country, write_countries


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("192.0.2.0/24\n")
    (tmp_path / "bad").write_text("192.0.2.0/24\nx\n")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    write_countries(tmp_path / "c.mmdb", {"192.0.2.0/24": country("DE")})
    yield
    asyncio.set_event_loop(None)


def check(entry: Any, *rules: dict[str, Any], listen: str = "http://127.0.0.1:0") -> list[str]:
    """Return everything the compilation says, errors and warnings."""
    dispatch = [{"handler": "respond", **rule} for rule in rules or ({"deny": "n"},)]
    config: dict[str, Any] = {"listen": [listen], "networks": {"n": entry}, "dispatch": dispatch}
    if any(rule["handler"] == "dns" for rule in dispatch):
        config["dns"] = {"a.test": {"A": "192.0.2.1"}}
    if str(entry.get("url", "")).startswith("https://a.example") or "learn" in entry:
        config["store"] = "store"
    try:
        return [str(one) for one in dry_run(load_text(json.dumps(config, indent=1), "config"), Directory()).warnings]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "expected one of 'file', 'url', 'mmdb' and 'learn'"),
        ({"file": "list", "url": "https://a.example/"}, "got file and url"),
        ({"file": "none"}, "cannot read"),
        ({"file": "bad"}, "line 2 is not a network"),
        ({"file": "large"}, "more than 1048576 bytes"),
        ({"file": "list", "max_size": 5}, "more than 5 bytes"),
        ({"file": "list", "country": ["DE"]}, "'country' has no effect with 'file'"),
        ({"file": "list", "refresh": "1h"}, "'refresh' has no effect with 'file'"),
        ({"files": "list"}, "did you mean 'file'?"),
        ({"url": "ftp://a.example/"}, "expected a URL such as"),
        ({"url": "http://a.example/"}, "can be forged on its way"),
        ({"url": "https://a.example/", "refresh": "1s"}, "servers refuse callers"),
        ({"url": "https://a.example/", "refresh": "10ms"}, "expected 1 s or more"),
        ({"url": "https://a.example/", "max_size": "2m"}, "the store keeps 1048576 bytes"),
        ({"mmdb": "c.mmdb"}, "needs 'country', 'continent' or 'asn'"),
        ({"mmdb": "c.mmdb", "country": ["de"]}, "expected two capital letters"),
        ({"mmdb": "c.mmdb", "country": ["Germany"]}, "expected two capital letters"),
        ({"mmdb": "c.mmdb", "country": ["GB", "UK"]}, "UK is no country of ISO 3166, did you mean 'GB'?"),
        ({"mmdb": "c.mmdb", "asn": [0]}, "expected the number of an autonomous system"),
        ({"mmdb": "list", "country": ["DE"]}, "is not a database"),
        ({"for": "1h"}, "expected one of 'file', 'url', 'mmdb' and 'learn'"),
        ({"file": "list", "for": "2h"}, "'for' has no effect with 'file': it belongs to 'learn'"),
        ({"file": "list", "except": "10.0.0.1"}, "'except' has no effect with 'file'"),
        ({"learn": {"login": 5}, "max_networks": 5}, "see 'max_bans'"),
        ({"learn": {"login": 5}, "file": "list"}, "got file and learn"),
        ({"learn": {}}, "name one of the events login, scan"),
        ({"learn": {"logins": 5}}, "unknown event 'logins', did you mean 'login'?"),
        ({"learn": {"smtp": 5}}, "unknown event 'smtp', the events are login, scan, limited, dns, tls, proxy"),
        ({"learn": {"login": 0}}, "'0' bans nobody: leave out 'login'"),
        ({"learn": {"login": "5 a day"}}, "expected how many it takes, such as 5 (in 10 minutes)"),
        ({"learn": {"login": -1}}, "expected how many it takes"),
        ({"learn": {"login": 5}, "except": "n"}, "'n' learns itself"),
        ({"learn": {"login": 5}, "except": "office"}, "unknown network 'office'"),
        ({"learn": {"login": 5}, "max_bans": 0}, "max_bans"),
    ],
)
def test_each_mistake_is_named_in_its_place(entry: Any, message: str) -> None:
    problems = check(entry)
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert problems[0].startswith("config:")


@pytest.mark.parametrize(
    "entry",
    [
        {"file": "list"},
        {"mmdb": "c.mmdb", "country": ["DE"]},
        {"url": "https://a.example/ips"},
        {"learn": {"limited": 5, "scan": "20/1m"}, "for": "1h", "except": "192.0.2.1"},
    ],
)
def test_they_can_stand_wherever_networks_do(entry: Any, tmp_path: Path) -> None:
    key = "deny" if "learn" in entry else "allow"
    assert check(entry, {key: ["n", "10.0.0.0/8"], "path": "/a"}, {"from": "n"}, {"not": {"from": "n"}}) == []
    assert not (tmp_path / "store").exists()  # a check writes nothing


def test_rules_are_compared_by_the_names_of_such_networks() -> None:
    assert len(check({"file": "list"}, {"from": "n"}, {"from": "n", "match": {"method": "GET"}})) == 1
    assert check({"file": "list"}, {"from": "n"}, {"from": "192.0.2.0/24"}) == []


def test_the_url_is_not_quoted() -> None:
    problems = check({"url": "https://user:secret@a.example/"})
    assert len(problems) == 1
    assert "secret" not in problems[0]


def test_a_network_that_learns_for_nothing_is_warned_of() -> None:
    (warning,) = check({"learn": {"scan": 5}}, {"path": "/"})
    assert "nothing is refused: name 'n' in 'deny', 'from' or another key" in warning


def test_events_that_cannot_happen_are_warned_of() -> None:
    warnings = check({"learn": dict.fromkeys(EVENTS, 5)})
    assert [one.partition(": warning: ")[2] for one in warnings] == [
        "'login' cannot happen here: it takes a rule with 'basic_auth', 'jwt' or 'forward_auth'",
        "'dns' cannot happen here: it takes a name server over TCP, TLS, QUIC or HTTPS",
        "'tls' cannot happen here: it takes a listener with TLS",
        "'proxy' cannot happen here: it takes a listener with 'accept_proxy'",
    ]
    assert warnings[0].startswith("config:8:")
    (warning,) = check({"learn": {"dns": 5}}, {"handler": "dns", "deny": "n"}, listen="udp://127.0.0.1:5353")
    assert "'dns' cannot happen here" in warning


@pytest.mark.parametrize(
    ("event", "listen", "rule"),
    [
        ("login", "http", {"jwt": {"secret": "0123456789abcdef0123456789abcdef", "audience": "a"}}),
        ("login", "http", {"forward_auth": {"to": "http://127.0.0.1:1"}}),
        ("limited", "tcp", {"handler": "forward", "forward_to": "tcp://127.0.0.1:1", "rate_limit": "1/s"}),
        ("limited", "tcp", {"handler": "dns"}),
        ("dns", "tcp", {"handler": "dns"}),
        ("dns", "http", {"handler": "dns", "listener": "http://127.0.0.1:0"}),
    ],
)
def test_events_that_can_happen(event: str, listen: str, rule: dict[str, Any]) -> None:
    assert check({"learn": {event: 5}}, {"deny": "n", **rule}, listen=f"{listen}://127.0.0.1:0") == []


def test_nobody_is_trusted_for_being_banned() -> None:
    config = {
        "listen": ["http://127.0.0.1:0"], "store": "store", "trusted_proxies": ["n"],
        "networks": {"n": {"learn": {"login": 5}}}, "dispatch": [{"handler": "respond", "deny": "n"}],
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'n' learns whom to ban"):
        dry_run(load_text(json.dumps(config, indent=1), "config"), Directory())


@pytest.mark.parametrize("key", ["allow", "deny", "from"])
def test_only_banned_clients_would_be_let_in(key: str) -> None:
    rules = [{"path": "/a", "basic_auth": {"users": {}}, key: ["10.0.0.0/8", "n"]}, {}]
    problems = [one for one in check({"learn": {"login": 5}}, *rules) if "nobody can come in" not in one]
    told = ["'n' has the clients that are banned, nobody else is let in: use 'deny'"] if key == "allow" else []
    assert [one.partition("warning: ")[2] for one in problems] == told
