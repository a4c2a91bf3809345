"""What `check` says of `dns_block` (`nameserver.blocking.checks`), each mistake in its place and with a remedy."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from npserver.tls.store import CertificateStore

CONFIG: dict[str, Any] = {
    "listen": [{"name": "dns", "uri": "udp://127.0.0.1:0"}],
    "networks": {"kids": ["192.0.2.0/24"]},
    "dns": {"nas.home": {"A": "192.0.2.1"}},
    "dns_forward": ["192.0.2.53"],
    "dispatch": [{"listener": "dns", "handler": "dns"}],
}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts").write_text("0.0.0.0 localhost\n0.0.0.0 ads.example\n")
    (tmp_path / "rules").write_text("||ads.example^\n@@||good.example^\n")
    (tmp_path / "broad").write_text("||ads.example^\n||com^\n")
    (tmp_path / "odd").write_text("ads.example\nno name\n/x/\n")
    (tmp_path / "page").write_text("<html>\n")
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "zip").write_bytes(b"\x1f\x8b\x08\0")
    (tmp_path / "own").write_text("x.home\nnas.home\n")
    (tmp_path / "directory").mkdir()
    yield
    asyncio.set_event_loop(None)


def check(entry: Any, **parts: Any) -> list[str]:
    """Return everything the compilation says, errors and warnings."""
    config = {**CONFIG, "dns_block": entry, **parts}
    if "https://" in json.dumps(entry):
        config["store"] = "store"
    text = json.dumps({key: value for key, value in config.items() if value is not None}, indent=1)
    try:
        return [str(one) for one in dry_run(load_text(text, "config"), Directory()).warnings]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "nothing is blocked: name a list in 'lists' or names in 'block'"),
        ([], "'dns_block' is empty: write an entry such as"),
        ({"list": "hosts"}, "did you mean 'lists'?"),
        ({"lists": [], "allow": "a.example"}, "'allow' has no effect, as nothing is blocked: name a list"),
        ({"lists": ["none"]}, "no file 'none': write it, or take it from 'lists'"),
        ({"lists": ["directory"]}, "cannot read '/.*: is a directory"),
        ({"lists": [" "]}, "the name of a list is empty: write a file or a URL"),
        ({"lists": ["hosts", "hosts"]}, "'hosts' is given twice"),
        ({"lists": ["empty"]}, "the list is not used: it has no names to block"),
        ({"lists": ["page"]}, "the list is not used: it has no names to block: line 1 is not understood: '<html>'"),
        ({"lists": ["zip"]}, "the list is not used: it is compressed: unpack it"),
        ({"lists": ["hosts"], "max_size": 5}, r"more than 5 bytes \(max_size\)"),
        ({"lists": ["hosts"], "max_size": "1g"}, "'max_size': expected at most 256m"),
        ({"lists": ["own"], "max_names": 1}, r"it has more than 1 names \(max_names\)"),
        ({"lists": ["hosts"], "max_names": 0}, "max_names"),
        ({"lists": ["broad"]}, "left out is what would block too much: com; to block it, name it in 'block'"),
        ({"lists": ["odd"]}, "line 2 is not understood: 'no name' and 1 more"),
        ({"lists": ["own"]}, "the list has names of our own zones, which are answered all the same: nas.home."),
        ({"lists": ["hosts"], "refresh": "1h"}, "'refresh' has no effect: no list is a URL; files are looked at"),
        ({"lists": ["hosts"], "timeout": "1s"}, "'timeout' has no effect: no list is a URL"),
        ({"block": ["ads.example"], "max_size": "1m"}, "'max_size' has no effect: there are no lists"),
        ({"lists": ["ftp://a.example/hosts"]}, "a list: expected a URL such as https://www.example.net/hosts.txt"),
        ({"lists": ["https://user:secret@a.example/"]}, "a list: expected a URL such as"),
        ({"lists": ["http://a.example/"], "refresh": "1d"}, "can be forged on its way: use https"),
        ({"lists": ["https://a.example/"], "refresh": "5s"}, "servers refuse callers who ask every 5 s"),
        ({"lists": ["https://a.example/"], "refresh": "10ms"}, "expected 1 s or more"),
        ({"block": ["-x-..example"]}, "expected a domain name, got '-x-..example': a label is empty"),
        ({"block": ["."]}, "'.' stands for every name: write the names themselves"),
        ({"block": ["*.ads.example"]}, "names below are meant anyway, and the name itself too: write 'ads.example'"),
        ({"block": ["ads.example", "ADS.example."]}, "'ADS.example.' is given twice"),
        ({"block": ["x.ads.example"], "allow": ["ads.example"]}, r"is not blocked: dns_block.allow\[0\] wins"),
        ({"block": ["nas.home"]}, "'nas.home.' is not blocked: it is in our own zone home."),
        ({"lists": ["hosts"], "allow": ["nas.home"]}, "'nas.home.' need not be allowed: it is in our own zone home."),
        ({"lists": ["hosts"], "from": "kid"}, "unknown network 'kid', did you mean 'kids'?"),
        ({"lists": ["hosts"], "from": []}, "from"),
        ({"lists": ["hosts"], "answer": "nxdomian"}, "expected one of .*, got 'nxdomian', did you mean 'nxdomain'?"),
        ({"lists": ["hosts"], "answer": ["192.0.2.1", "zero"]}, "expected one of .*, got 'zero'"),
        ({"lists": ["hosts"], "answer": []}, "'answer' is empty: write one of"),
        ({"lists": ["hosts"], "ttl": "2d"}, "'ttl': expected 1 s to 86400 s, got 172800 s"),
        ([{"lists": ["hosts"]}, {"lists": ["rules"], "from": "kids"}], "this entry is never used: one before it is"),
        ([{"lists": ["hosts"]}, {"block": "x.example", "from": "kids"}], "this entry is never used"),
        ([{"lists": ["hosts"], "from": "kids"}, {"from": "10.0.0.0/8"}], "nothing is blocked: name a list"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_in_its_place(entry: Any, message: str) -> None:
    problems = check(entry)
    assert len(problems) == 1, problems
    assert re.search(message, problems[0]), problems
    assert problems[0].startswith("config:")


@pytest.mark.parametrize(
    "entry",
    [
        {"lists": "hosts"},
        {"lists": ["hosts", "rules"], "allow": "good.example", "block": ["com", "bücher.example"]},
        {"lists": ["https://a.example/hosts?key=secret"], "refresh": "12h", "timeout": "1m", "max_size": "64m"},
        {"block": "ads.example", "answer": ["192.0.2.1", "2001:db8::1"], "ttl": "1h"},
        [{"from": "kids", "lists": ["rules"], "answer": "zero"}, {"lists": ["hosts", "rules"], "answer": "refused"}],
        [{"from": "kids"}, {"from": ["10.0.0.0/8", "::1"], "lists": ["hosts"], "answer": "nodata"}],
    ],
)
def test_nothing_is_said_of_what_is_right(entry: Any, tmp_path: Path) -> None:
    assert check(entry) == []
    assert not (tmp_path / "store").exists()  # a check writes nothing


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"dns_forward": None}, "'dns_block' has no effect: it needs 'dns_forward', as our own zones are not blocked"),
        (
            {"dispatch": [{"handler": "respond"}], "listen": ["http://127.0.0.1:0"], "dns": None},
            "'dns_block' has no effect: no rule has handler 'dns'",
        ),
    ],
)
def test_a_config_that_resolves_nothing_is_warned_of(parts: dict[str, Any], message: str) -> None:
    problems = check({"lists": ["hosts"]}, **parts)
    assert len(problems) == 1, problems
    assert message in problems[0]


def test_the_secret_in_a_url_is_not_shown() -> None:
    problems = check({"lists": ["http://a.example/?key=secret", "http://a.example/?key=secret"]}, store="store")
    assert len(problems) == 3
    assert "secret" not in str(problems)


def test_a_server_starts_without_a_list() -> None:
    text = json.dumps({**CONFIG, "dns_block": {"lists": ["none", "page"]}})
    runtime = dry_run(load_text(text, "config"), Directory(), CertificateStore())
    (warning,) = runtime.warnings
    assert "no file" in str(warning)
