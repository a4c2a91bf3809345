"""The table at the start."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from npserver import __version__
from npserver.address import Address
from npserver.cli.banner import make_banner, print_banner, wants_colour
from npserver.config.load import load_text
from npserver.errors import Problem, Severity
from npserver.listen.listener import Listener
from npserver.program.runtime import Runtime


class Bound:
    """A binding as the table sees it."""

    def __init__(self, listener: Listener, *ports: int) -> None:
        self.listener = listener
        self.addresses = [Address("http", "", port) for port in ports]


def started(text: str = "{}") -> tuple[Runtime, Any]:
    web, api = Listener("w", "web", Address("http", "", 80), 16, ""), Listener("a", "", Address("http", "", 81), 16, "")
    summary = (("web http://:80", "/**  files"), ("web http://:80", "/x  proxy"), ("http://:81", "/**  welcome page"))
    warnings = (Problem("odd", "a.json", 2, 3, Severity.WARNING),)
    runtime = Runtime(load_text(text, "a.json"), (web, api), {}, (), warnings, summary)
    return runtime, {"w": Bound(web, 80), "a": Bound(api, 81, 82, 83)}


def test_each_listener_has_its_addresses_beside_its_rules() -> None:
    assert make_banner(*started(), 2, colour=False) == (
        f"npserver {__version__} 2 workers, a.json\n"
        "  web http://:80  /**  files\n"
        "                  /x  proxy\n"
        "  http://:81      /**  welcome page\n"
        "  http://:82\n"
        "  http://:83\n"
        "a.json:2:3: warning: odd\n"
    )


@pytest.mark.parametrize(("workers", "words"), [(0, "one process"), (1, "1 worker,"), (3, "3 workers,")])
def test_it_says_how_many_processes_serve(workers: int, words: str) -> None:
    assert words in make_banner(*started(), workers, colour=False).splitlines()[0]


def test_colours_change_nothing_else() -> None:
    coloured = make_banner(*started(), 2, colour=True)
    assert "\x1b[1m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured).split() == make_banner(*started(), 2, colour=False).split()


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour() is coloured


def test_where_logs_are_json_there_are_lines_instead(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    print_banner(*started('{"logging": {"format": "json"}}'), 2)
    assert [record.getMessage() for record in caplog.records] == [
        "serving http://:80",
        "serving http://:81, http://:82, http://:83",
        "a.json:2:3: warning: odd",
    ]
    assert capsys.readouterr().err == ""
