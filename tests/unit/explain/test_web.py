"""HTTP requests explained: certificate, rule, status, and where each is decided.

Covers `explain.compiled` and `explain.exchange`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.explain.explanation import Explanation
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


@pytest.mark.parametrize(
    ("question", "options", "rule", "gets"),
    [
        ("http://nas.home/api/x", {"client": "10.0.0.1"}, "dispatch[0]", ""),
        ("http://nas.home/api/x", {}, "dispatch[0]", 403),
        ("http://nas.home/api", {"client": "10.0.0.1"}, "dispatch[0]", 301),  # a slash is missing
        ("http://nas.home/", {}, "dispatch[1]", 301),
        ("http://x.home/", {"client": "10.0.0.1"}, "dispatch[2]", 200),
        ("http://x.home/", {}, "", 404),
        ("http://x.home/", {"method": "POST"}, "dispatch[3]", 202),
        ("http://files.example/", {}, "dispatch[4]", 200),
        ("http://files.example/sub", {}, "dispatch[4]", 301),
        ("http://files.example/../etc/passwd", {}, "", 400),
        ("http://files.example/none", {}, "dispatch[4]", 404),
        ("http://files.example/", {"method": "POST"}, "dispatch[4]", 405),
        ("http://files.example/", {"headers": {"Host": "nas.home"}}, "dispatch[1]", 301),
        ("http://files.example/page.html", {"headers": {"Accept-Encoding": "gzip"}}, "dispatch[4]", 200),
        ("http://files.example/page.html", {"headers": {"Range": "bytes=0-1"}}, "dispatch[4]", 206),
        ("http://files.example/page.html", {"headers": {"Range": "bytes=99999-"}}, "dispatch[4]", 416),
        ("http://private.example/", {}, "dispatch[7]", 401),
        ("http://cors.example/", {}, "dispatch[9]", 200),
        ("http://busy.example/", {}, "dispatch[11]", 503),
        ("http://php.example/index.html", {}, "dispatch[10]", 200),
        ("http://php.example/sub", {}, "dispatch[10]", 301),
        ("http://php.example/none", {}, "dispatch[10]", 404),
        ("http://x/%zz", {}, "", 400),
        ("http://none.example/", {}, "", 404),
    ],
)
def test_the_rule_and_the_status(ask: Ask, question: str, options: dict[str, Any], rule: str, gets: int | str) -> None:
    found = ask(question, **options)
    assert (found.rule, found.gets) == (rule, gets)


def test_each_step_has_its_place_in_the_config(ask: Ask, directory: Path) -> None:
    found = ask("http://nas.home/api/x")
    lines = (directory / "config.json").read_text().splitlines()
    places = {step.kind: step.place for step in found.steps if step.place}
    for kind, text in (("listener", '"http://:8080"'), ("networks", '"allow": "office"'), ("refused", '"allow"')):
        file, line, column = places[kind].rsplit(":", 2)
        assert file == str(directory / "config.json")
        assert text in lines[int(line) - 1]
        assert int(column) > 1
    assert places["rule"] != places["networks"]


def test_trusted_proxies_say_who_asks(ask: Ask) -> None:
    found = ask("http://nas.home/api/x", client="10.9.9.9", headers={"X-Forwarded-For": "198.51.100.7"})
    assert found.gets == 403
    assert steps(found, "client") == ["198.51.100.7, by the fields of the trusted proxy 10.9.9.9"]
    stranger = ask("http://nas.home/api/x", client="198.51.100.7", headers={"X-Forwarded-For": "10.0.0.1"})
    assert stranger.gets == 403


def test_the_certificate_follows_the_server_name(ask: Ask, directory: Path) -> None:
    (named,) = steps(ask("https://nas.home:8443/"), "certificate")
    assert named == f"{directory}/nas.pem for nas.home, *.home (server name 'nas.home')"
    (default,) = steps(ask("https://other.example:8443/"), "certificate")
    assert default.endswith("(server name 'other.example', the default: no certificate is for it)")


def test_traces_change_nothing_and_questions_are_no_requests(directory: Path) -> None:
    """With `tracing` each middleware is wrapped; a question is in no trace, so that no collector is sent any."""
    text = json.loads((directory / "config.json").read_text())
    text["tracing"] = {"to": "http://127.0.0.1:9"}
    text["dispatch"][0]["headers"]["X-Trace"] = "$trace_id"
    traced = load_text(json.dumps(text), str(directory / "config.json"))
    questions = [
        ("http://nas.home/api/x", {"client": "10.0.0.1"}), ("http://private.example/", {}),
        ("http://sso.example/", {}), ("http://cors.example/", {}), ("http://busy.example/", {}),
    ]  # fmt: skip
    plain = load_text((directory / "config.json").read_text(), str(directory / "config.json"))
    found = []
    for document in (plain, traced):
        with explaining(document) as explainer:
            asked = [explainer.explain(parse_question(question, **options)) for question, options in questions]
            found.append(
                [(one.gets, [(step.kind, step.text) for step in one.steps if step.kind != "sends"]) for one in asked]
            )
    assert found[0] == found[1]


def test_variables_of_a_connection_that_does_not_exist(directory: Path) -> None:
    """Each has a value, if only an empty one."""
    names = ("tls_version", "tls_cipher", "tls_client_cert", "sni", "user", "protocol", "local_ip", "client_port")
    text = json.loads((directory / "config.json").read_text())
    moved = "https://example/" + "".join([f"{name}=${{{name}}}/" for name in names])
    text["dispatch"].insert(0, {"host": "moved.home", "handler": "redirect", "to": moved})
    document = load_text(json.dumps(text), str(directory / "config.json"))
    with explaining(document) as explainer:
        found = explainer.explain(parse_question("https://moved.home:8443/"))
    assert found.gets == 308
    assert "/tls_version=TLSv1.3/tls_cipher=/" in found.location
