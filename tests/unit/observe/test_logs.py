"""The program's own log: levels, formats, and text of strangers in it."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading

import pytest

from npserver.observe import logs
from npserver.observe.config import Logging


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_line_names_level_and_area(stream: io.StringIO) -> None:
    logs.configure(Logging(), stream)
    logging.getLogger("npserver.upstream").warning("target %s is down", "a:1")
    assert stream.getvalue()[8:] == " warn  upstream: target a:1 is down\n"


def test_each_area_has_its_level(stream: io.StringIO) -> None:
    logs.configure(Logging(level="warn", dns="trace", tls="off"), stream)
    logging.getLogger("npserver.http").info("not shown")
    logging.getLogger("npserver.dns").log(logs.TRACE, "shown")
    logging.getLogger("npserver.tls").critical("not shown")
    assert [line[9:] for line in stream.getvalue().splitlines()] == ["trace dns: shown"]


def test_a_later_configuration_replaces_the_earlier(stream: io.StringIO) -> None:
    logs.configure(Logging(dns="off"), stream)
    logs.configure(Logging(), stream)
    logging.getLogger("npserver.dns").info("once")
    assert stream.getvalue().count("once") == 1


def test_no_line_can_pass_for_another(stream: io.StringIO) -> None:
    logs.configure(Logging(), stream)
    logging.getLogger("npserver.http").info("a\n12:00:00 error http: forged\x1b[2J\x9b")
    assert stream.getvalue().split("\n")[1:] == ["    12:00:00 error http: forged\\x1b[2J\\x9b", ""]


def test_json_is_one_object_per_line(stream: io.StringIO) -> None:
    logs.configure(Logging(format="json"), stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("npserver.server").exception("two\nlines")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["message"] == "two\nlines"
    assert entry["level"] == "error"
    assert entry["area"] == "server"
    assert "ValueError: why" in entry["error"]


@pytest.mark.parametrize(("form", "shown"), [("json", "cannot read /caf\\u00e9"), ("pretty", r"cannot read /caf\xe9")])
def test_a_file_name_may_be_any_bytes(stream: io.StringIO, form: str, shown: str) -> None:
    """RFC 8259 §8.2: no surrogate stands alone in JSON; strict readers refuse it."""
    logs.configure(Logging(format=form), stream)  # type: ignore[arg-type]
    logging.getLogger("npserver.http").error("cannot read %s", os.fsdecode(b"/caf\xe9"))
    assert shown in stream.getvalue()


def test_colour_only_on_a_terminal(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    logs.configure(Logging(), terminal)
    logging.getLogger("npserver.http").error("red")
    assert "\x1b[31merror\x1b[0m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not logs.is_coloured(terminal)


def test_stray_exceptions_are_log_entries(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a destructor and of a thread: each is one JSON object."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    class Faulty:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    def work() -> None:
        raise ValueError("in a thread")

    logs.configure(Logging(format="json"), stream)
    logs.log_stray_exceptions()
    Faulty()
    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    thread.join()
    destructor, failed = map(json.loads, stream.getvalue().splitlines())
    assert (destructor["level"], failed["message"]) == ("error", "exception in worker-7")
    assert "in a destructor" in destructor["error"]
    assert "in a thread" in failed["error"]
