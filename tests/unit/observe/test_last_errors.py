"""The last warnings and errors of all processes: kept in shared memory, bounded, and never half read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from npserver.observe import logs
from npserver.observe.config import Logging
from npserver.observe.last_errors import RECORDS, Keeper, LastErrors, LoggedError, keep

log = logging.getLogger("npserver.http")


@pytest.fixture
def errors() -> Iterator[LastErrors]:
    root = logging.getLogger("npserver")
    before = root.handlers, root.propagate, root.level
    logs.configure(Logging())
    errors = LastErrors(3)
    keep(errors, 1)
    yield errors
    root.handlers, root.propagate = before[:2]
    root.setLevel(before[2])


def texts(errors: LastErrors) -> list[str]:
    return [one.text for one in errors.read()]


def test_warnings_and_errors_are_kept_the_newest_first(errors: LastErrors) -> None:
    log.info("not this")
    log.warning("one %d", 1)
    logging.getLogger("npserver.tls").error("two")
    assert texts(errors) == ["tls: two", "http: one 1"]
    assert [one.level for one in errors.read()] == [logging.ERROR, logging.WARNING]


def test_one_that_comes_again_is_counted(errors: LastErrors) -> None:
    for _ in range(3):
        log.warning("a")
        log.warning("b")
    assert [(one.text, one.count) for one in errors.read()] == [("http: b", 3), ("http: a", 3)]


def test_the_oldest_make_room(errors: LastErrors) -> None:
    for number in range(1000):
        log.warning("%d", number)
    assert texts(errors) == [f"http: {number}" for number in range(999, 999 - RECORDS, -1)]


def test_those_of_other_processes_are_seen(errors: LastErrors) -> None:
    log.warning("both")
    child = os.fork()
    if child == 0:
        keep(errors, 2)
        log.warning("from the child")
        log.warning("both")
        os._exit(0)
    os.waitpid(child, 0)
    assert sorted((one.text, one.count) for one in errors.read()) == [("http: both", 2), ("http: from the child", 1)]


def test_a_process_that_is_started_again_goes_on(errors: LastErrors) -> None:
    for number in range(RECORDS):
        log.warning("%d", number)
    keep(errors, 1)
    log.warning("new")
    log.warning("5")
    found = {one.text: one.count for one in errors.read()}
    assert "http: 0" not in found
    assert (found["http: new"], found["http: 5"]) == (1, 2)


def test_texts_are_bounded_and_have_no_control_characters(errors: LastErrors) -> None:
    record = logging.LogRecord("npserver.http", 30, "", 0, "a\nb\x1b[31m \udce4 %s", ("ü" * 5000,), None)
    Keeper(errors, 1).emit(record)
    (text,) = texts(errors)
    assert text.startswith("http: a\\x0ab\\x1b[31m ")
    assert 400 < len(text.encode()) <= 512
    assert text.endswith("ü")


def test_an_exception_is_named_and_its_text_is_not_shown(errors: LastErrors) -> None:
    try:
        raise ValueError("a secret")
    except ValueError:
        log.exception("error in a rule")
    assert texts(errors) == ["http: error in a rule: ValueError"]


def test_a_record_that_is_being_written_is_left_out(errors: LastErrors) -> None:
    errors.write(0, 0, LoggedError(1.0, 30, "complete"))
    errors.write(0, 1, LoggedError(2.0, 30, "torn"))
    errors._memory[512 + 20] ^= 1
    assert texts(errors) == ["complete"]


def test_without_logging_nothing_is_kept_and_python_prints_warnings_as_before() -> None:
    root = logging.getLogger("npserver")
    before, root.handlers, propagate = root.handlers, [], root.propagate
    root.propagate = False
    try:
        keep(LastErrors(1), 0)
        assert root.handlers == []
    finally:
        root.handlers, root.propagate = before, propagate


def test_a_reload_keeps_the_keeper(errors: LastErrors) -> None:
    logs.configure(Logging(format="json"))
    assert [type(one) for one in logging.getLogger("npserver").handlers] == [logging.StreamHandler, Keeper]
