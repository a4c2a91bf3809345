"""Compiling `on_demand`: what `npserver check` says of wrong use, and of what would be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.errors import ConfigError

ASK = "http://127.0.0.1:5000/may"
RULE = {"handler": "respond", "body": "hello"}
HOST = {**RULE, "host": "www.example.com"}
WEB = ["https://127.0.0.1:443", "http://127.0.0.1:80"]
ZONES = {"dns_zones": ["example.com"], "dns": {"example.com": {"A": "192.0.2.1"}}}
DNS = {"handler": "dns", "listener": "udp://127.0.0.1:53"}


def checked(tmp_path: Path, on_demand: dict[str, Any], **config: Any) -> tuple[list[str], list[str]]:
    """Return errors and warnings with their places, and what is said of certificates."""
    file = tmp_path / "npserver.json"
    acme = {**config.pop("acme", {}), "on_demand": on_demand}
    made = {"listen": WEB, "store": str(tmp_path / "store"), "tls": {"acme": acme}, "dispatch": [RULE], **config}
    file.write_text(json.dumps(made))
    try:
        problems, served = check(str(file))
    except ConfigError as error:
        return [problem.message for problem in error.problems], []
    assert not (tmp_path / "store").exists(), "a check writes nothing"
    told = [text for of, text in served if of == "TLS" and text.startswith("certificate ")]
    return [problem.message for problem in problems], told


def test_names_are_those_that_the_application_agrees_to(tmp_path: Path) -> None:
    problems, told = checked(tmp_path, {"ask": ASK})
    assert problems == []
    demand = f"certificate on demand by https://acme-v02.api.letsencrypt.org/directory for names that {ASK} agrees to"
    assert demand in told


def test_hosts_of_rules_and_names_are_ordered_ahead(tmp_path: Path) -> None:
    _, told = checked(tmp_path, {"ask": ASK}, dispatch=[HOST, RULE])
    assert [text.split()[2] for text in told] == ["www.example.com", "demand"]


def test_a_wildcard_of_rules_that_cannot_be_ordered_is_for_names_on_demand(tmp_path: Path) -> None:
    rule = {**RULE, "host": ["*.example.com", "example.com"]}
    problems, told = checked(tmp_path, {"ask": ASK}, dispatch=[rule])
    assert problems == []
    assert [text.split()[2] for text in told if "local" not in text] == ["example.com", "demand"]
    problems, told = checked(tmp_path, {"ask": ASK}, dispatch=[rule, DNS], listen=[*WEB, "udp://127.0.0.1:53"], **ZONES)
    assert [text.split()[2] for text in told if "local" not in text] == ["*.example.com", "example.com", "demand"]


@pytest.mark.parametrize(
    ("on_demand", "config", "message"),
    [
        ({}, {}, "'on_demand' needs 'ask', the URL of an application that decides for which names certificates are"),
        ({"ask": ""}, {}, "without it anyone could have them ordered for any name, and use up the limits of the CA"),
        ({"ask": "127.0.0.1:5000"}, {}, "'ask': scheme missing in '127.0.0.1:5000', expected as in 'http://127"),
        ({"ask": ASK, "max_orders": 0}, {}, "max_orders"),
        ({"ask": ASK, "wait": 0}, {}, "wait"),
        ({"ask": ASK}, {"listen": ["https://127.0.0.1:8443"]}, "no challenge can work on demand: there is neither an"),
        ({"ask": ASK, "wait": "5s"}, {}, "'wait' of 5 s is over before 'ask_timeout' of 5 s is"),
        ({"ask": ASK}, {"acme": {"directory": "http://ca.test"}}, "'directory': expected an https URL"),
        (
            {"ask": ASK},
            {"tls": [{"acme": {"on_demand": {"ask": ASK}}}, {"acme": {"on_demand": {"ask": ASK}}}]},
            "only one entry of a list can have 'on_demand'",
        ),
    ],
)
def test_wrong_use(tmp_path: Path, on_demand: dict[str, Any], config: dict[str, Any], message: str) -> None:
    (problem, *others), _ = checked(tmp_path, on_demand, **config)
    assert message in problem
    assert others == []


def test_it_is_looked_at_also_where_more_is_wrong(tmp_path: Path) -> None:
    problems, _ = checked(tmp_path, {}, acme={"email": "me"})
    assert [problem.partition(":")[0].partition(" needs")[0] for problem in problems] == ["'email'", "'on_demand'"]


@pytest.mark.parametrize("listen", [["https://127.0.0.1:443"], ["https://127.0.0.1:8443", "http://127.0.0.1:80"]])
def test_one_port_is_enough(tmp_path: Path, listen: list[str]) -> None:
    assert checked(tmp_path, {"ask": ASK}, listen=listen)[0] == []


def test_the_challenge_may_be_said(tmp_path: Path) -> None:
    config = {"listen": ["https://127.0.0.1:8443"], "acme": {"challenge": ["tls-alpn"]}}
    assert checked(tmp_path, {"ask": ASK}, **config)[0] == []


def test_each_listener_can_have_its_own(tmp_path: Path) -> None:
    listen = [
        {"uri": f"https://127.0.0.1:{port}", "tls": {"acme": {"on_demand": {"ask": f"{ASK}/{port}"}}}}
        for port in (443, 8443)
    ]
    problems, told = checked(tmp_path, {"ask": ASK}, listen=listen, tls=None)
    assert problems == []
    assert len([text for text in told if "on demand" in text]) == 2
