"""Tests in the config: which hold, and what is said of those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError, Severity
from npserver.explain.expectations import check_expectations
from npserver.process.explaining import explaining, failed_tests, refuse_failed_tests

CONFIG: dict[str, Any] = {
    "listen": ["http://:8080", {"name": "dns", "uri": "udp://127.0.0.1:53"}, "tcp://:5432"],
    "upstreams": {"nas": {"targets": ["http://10.0.0.5:8000"]}},
    "dns": {"nas.home": {"A": "10.0.0.5"}},
    "dispatch": [
        {"name": "nas", "host": "nas.home", "handler": "proxy", "proxy_pass": "upstream://nas", "allow": "10.0.0.0/8"},
        {"host": "moved.home", "handler": "redirect", "to": "https://new.home/", "status": 301},
        {"host": "files.home", "handler": "static", "root": "site"},
        {"host": "one.home", "handler": "proxy", "proxy_pass": "http://10.0.0.9:3000/app"},
        {"handler": "dns", "listener": "dns"},
        {"handler": "forward", "listener": "tcp://:5432", "forward_to": "tcp://10.0.0.6:5432", "allow": "10.0.0.0/8"},
    ],
}
LAN = {"from": "10.0.0.1"}


def failures(tmp_path: Path, *tests: dict[str, Any]) -> list[str]:
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "index.html").write_text("hello")
    text = json.dumps({**CONFIG, "expect": list(tests)})
    document = load_text(text, str(tmp_path / "config.json"))
    return [problem.message for problem in failed_tests(document)]


@pytest.mark.parametrize(
    "test",
    [
        {"ask": "http://nas.home/", **LAN, "to": "upstream://nas"},
        {"ask": "http://nas.home/", **LAN, "to": "http://10.0.0.5:8000", "rule": "nas"},
        {"ask": "http://nas.home/", **LAN, "to": "http://10.0.0.5:8000/", "rule": "dispatch[0]"},
        {"ask": "http://nas.home/", "gets": 403},
        {"ask": "http://moved.home/", "gets": "https://new.home/"},
        {"ask": "http://moved.home/", "method": "POST", "gets": 301},
        {"ask": "http://files.home/", "file": "site/index.html", "gets": 200},
        {"ask": "http://one.home/x", "to": "http://10.0.0.9:3000/app"},
        {"ask": "http://one.home/x", "to": "http://10.0.0.9:3000/app/x"},
        {"ask": "http://x/", "headers": {"Host": "moved.home"}, "gets": 301},
        {"ask": "dns:nas.home", "gets": "10.0.0.5"},
        {"ask": "nas.home A", "gets": "NOERROR", "listener": "dns"},
        {"ask": "dns:none.home A", "gets": "nxdomain"},
        {"ask": "dns:example.org A", "gets": "REFUSED"},
        {"ask": "tcp://:5432", **LAN, "to": "tcp://10.0.0.6:5432", "rule": "dispatch[5]"},
        {"ask": "tcp://:5432", "gets": "closed"},
    ],
    ids=lambda test: " ".join(map(str, test.values())),
)
def test_what_is_so_passes(tmp_path: Path, test: dict[str, Any]) -> None:
    assert failures(tmp_path, test) == []


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            {"ask": "http://nas.home/", "to": "upstream://nas"},
            (
                "'http://nas.home/' from 192.0.2.1: expected to be passed to 'upstream://nas', but it is answered with "
                "403, by dispatch[0]: 403: client address is not allowed (dispatch[0].allow)"
            ),
        ),
        (
            {"ask": "http://nas.home/", **LAN, "gets": 200},
            (
                "'http://nas.home/' from 10.0.0.1: expected the answer 200, but it is passed to upstream://nas "
                "(http://10.0.0.5:8000), by dispatch[0]"
            ),
        ),
        (
            {"ask": "http://moved.home/", "gets": 302, "rule": "nas"},
            (
                "'http://moved.home/' from 192.0.2.1: expected the answer 302, but it is answered with 301, "
                "https://new.home/, by dispatch[1]"
            ),
        ),
        (
            {"ask": "http://moved.home/", "rule": "nas"},
            "'http://moved.home/' from 192.0.2.1: expected rule 'nas', but dispatch[1] has it",
        ),
        (
            {"ask": "http://files.home/none", "file": "site/index.html"},
            (
                "'http://files.home/none' from 192.0.2.1: expected file 'site/index.html', but it is answered with "
                "404, by dispatch[2]: 404: there is no such file (dispatch[2].root)"
            ),
        ),
        (
            {"ask": "https://nas.home/", "gets": 200},
            (
                "'https://nas.home/': expected the answer 200, but no listener takes 'https://nas.home/'; for https:// "
                "there are: none"
            ),
        ),
        (
            {"ask": "dns:nas.home", "gets": "10.0.0.6"},
            (
                "'dns:nas.home A' from 127.0.0.1: expected the answer '10.0.0.6', but it is answered with NOERROR: "
                "10.0.0.5, by dispatch[4]"
            ),
        ),
        (
            {"ask": "tcp://:5432", **LAN, "gets": "closed"},
            (
                "'tcp://:5432' from 10.0.0.1: expected the answer 'closed', but it is passed to tcp://10.0.0.6:5432, "
                "by dispatch[5]"
            ),
        ),
        ({"ask": "http://nas.home/"}, "expected 'to', 'gets', 'rule' or 'file': this test checks nothing"),
        (
            {"ask": "nas.home/x", "gets": 1},
            "scheme missing in 'nas.home/x': write http://nas.home/x or https://nas.home/x",
        ),
        ({"ask": "http://x/", "from": "me", "gets": 1}, "expected an IP address"),
        ({"ask": "http://x/", "method": "", "gets": 1}, "'' is not a method"),
    ],
    ids=lambda test: " ".join(map(str, test.values())) if isinstance(test, dict) else "",
)
def test_what_is_not_so_fails_with_what_happens_instead(tmp_path: Path, test: dict[str, Any], message: str) -> None:
    assert failures(tmp_path, test)[0].startswith(message)


def test_a_failure_has_the_place_of_the_value_and_the_next_tests_are_run(tmp_path: Path) -> None:
    text = """{
      "listen": ["http://:8080"],
      "dispatch": [{ "handler": "respond", "status": 204 }],
      "expect": [
        { "ask": "http://x/",
          "gets": 200 },
        { "ask": "http://x/", "gets": 204 },
        { "ask": "http://y/", "from": "me", "gets": 204 }
      ] }"""
    document = load_text(text, "config.json")
    found = failed_tests(document)
    assert [(one.line, one.column, one.severity) for one in found] == [
        (6, 19, Severity.CHECK_ERROR),
        (8, 39, Severity.CHECK_ERROR),
    ]
    with pytest.raises(ConfigError) as caught:
        refuse_failed_tests(document)
    assert str(caught.value).startswith("config.json:6:19: 'http://x/' from 192.0.2.1: expected the answer 200")


def test_they_take_bounded_time() -> None:
    config = {
        "listen": ["http://:8080"],
        "dispatch": [{"handler": "respond"}],
        "expect": [{"ask": f"http://x/{number}", "gets": 200} for number in range(50)],
    }
    document = load_text(json.dumps(config), "config.json")
    with explaining(document) as explainer:
        assert check_expectations(document, explainer) == []
        (left,) = check_expectations(document, explainer, within_s=-1.0)
    assert left.message == "50 tests are not tried: all together took longer than -1 s"


def test_a_config_without_tests_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.process.explaining.compiling", None)
    assert failed_tests(load_text('{"listen": ["http://:8080"]}', "config.json")) == []
