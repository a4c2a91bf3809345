"""Reloads in the master: all processes switch to the new config, or none does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.process.bindings import Bindings
from npserver.process.child import CONTROLLER
from npserver.process.children import Child, Children
from npserver.process.config_source import ConfigSource
from npserver.process.control.protocol import STOPPING
from npserver.process.dry_run import dry_run
from npserver.process.message_channel import Message, MessageChannel
from npserver.process.options import RunOptions
from npserver.process.reload import COMMIT_WITHIN_S, PREPARE_WITHIN_S, ActiveConfig, Reloader
from npserver.process.reload_outcome import ReloadOutcome
from npserver.runtime.scoreboard import Scoreboard
from npserver.tls.store import CertificateStore

WORKERS = 2


def never(*_: Any) -> Any:
    raise AssertionError("no child is forked here")


class Stage:
    """A reloader, and the ends of the channels at which its children would read."""

    def __init__(self, directory: Path, *, watch: bool) -> None:
        self.file = directory / "npserver.json"
        self.write("old")
        source = ConfigSource(str(self.file))
        document = source.document(source.read())
        board, certificates, bindings = Scoreboard(WORKERS, bytes(16)), CertificateStore(), Bindings(WORKERS)
        runtime = dry_run(document, board.directory, certificates)
        bindings.commit(bindings.prepare(runtime.listeners), runtime.listeners)
        self.children = Children(WORKERS, board, never, never)
        self.ends: dict[int, MessageChannel] = {}
        for child in self.children:
            self.give_process(child)
        self.outcomes: list[list[str]] = []  # the errors of each
        self.summaries: list[str] = []
        self.active = ActiveConfig(document, runtime, bindings, board, certificates)
        options = RunOptions(source, document, WORKERS, watch)
        self.reloader = Reloader(self.active, options, self.children, None, self.finished)

    def finished(self, outcome: ReloadOutcome) -> None:
        self.outcomes.append(outcome.errors)
        self.summaries.append(outcome.summary)

    def write(self, body: str, *uris: str) -> None:
        config = {"listen": ["http://127.0.0.1:0", *uris], "dispatch": [{"handler": "respond", "body": body}]}
        self.file.write_text(json.dumps(config))

    def give_process(self, child: Child) -> None:
        if child.channel is not None:
            child.channel.close()
            self.ends[child.role].close()
        child.pid = 1
        child.channel, self.ends[child.role] = MessageChannel.pair()

    def child(self, role: int) -> Child:
        return next(child for child in self.children if child.role == role)

    def received(self, role: int) -> list[Message]:
        messages = []
        for message, descriptors in self.ends[role].receive():
            for number in descriptors:
                os.close(number)
            messages.append({**message, "descriptors": len(descriptors)})
        return messages

    def kinds(self, role: int) -> list[str]:
        return [message["kind"] for message in self.received(role)]

    def prepared(self, *roles: int) -> None:
        for role in roles:
            self.reloader.child_prepared(self.child(role), "")

    def committed(self, *roles: int) -> None:
        for role in roles:
            self.reloader.child_committed(self.child(role), "")

    @property
    def body(self) -> Any:
        return getattr(self.active.document.config.dispatch[0], "body", None)

    def close(self) -> None:
        self.active.bindings.close()
        for child in self.children:
            if child.channel is not None:
                child.channel.close()
        for end in self.ends.values():
            end.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path, watch=False)
    yield one
    one.close()


def test_commit_once_all_have_prepared(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    assert [stage.kinds(role) for role in (0, 1, CONTROLLER)] == [["prepare"]] * 3
    stage.prepared(0, CONTROLLER)
    assert (stage.outcomes, stage.body) == ([], "old")
    stage.prepared(1)
    assert (stage.outcomes, stage.body) == ([], "new")
    assert [stage.kinds(role) for role in (0, 1, CONTROLLER)] == [["commit"]] * 3
    stage.committed(0, CONTROLLER)
    assert stage.outcomes == [], "worker 1 has not switched yet"
    stage.committed(1)
    assert stage.outcomes == [[]]


def test_a_worker_that_cannot_switch_is_reported_once_its_successor_serves(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.prepared(0, 1, CONTROLLER)
    stage.committed(0, CONTROLLER)
    child = stage.child(1)
    stage.reloader.child_committed(child, "cannot switch to the new config: too many open files")
    stage.reloader.child_exited(child)
    stage.give_process(child)
    stage.reloader.child_started(child)
    assert stage.kinds(1) == [], "it begins with the new config"
    assert stage.outcomes == []
    stage.reloader.child_ready(child)
    assert stage.outcomes == [["worker 1: cannot switch to the new config: too many open files; it is replaced"]]
    assert stage.summaries[0].startswith("reload incomplete: the new configuration is in use")


def test_a_worker_that_exits_while_it_switches(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.prepared(0, 1, CONTROLLER)
    stage.committed(0, CONTROLLER)
    stage.reloader.child_exited(stage.child(1))
    stage.reloader.child_ready(stage.child(1))
    assert stage.outcomes == [["worker 1 exited while it switched"]]


def test_a_worker_that_does_not_say_whether_it_switched(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.prepared(0, 1, CONTROLLER)
    stage.committed(0, CONTROLLER)
    (due,) = stage.reloader.due_times()
    assert due <= time.monotonic() + COMMIT_WITHIN_S
    stage.reloader.check(due)
    assert stage.outcomes == [["worker 1 has not switched to the new config within 30 s"]]
    stage.committed(1)  # comes too late
    assert len(stage.outcomes) == 1


def test_stop_while_children_switch(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.prepared(0, 1, CONTROLLER)
    stage.reloader.stop()
    assert (stage.outcomes, stage.body) == ([[STOPPING]], "new")
    assert stage.kinds(0) == ["prepare", "commit"]


def test_workers_get_the_sockets_of_new_listeners(stage: Stage, free_port: Callable[[], int]) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    stage.write("new", uri)
    stage.reloader.start()
    for role in (0, 1):
        sockets, prepare = stage.received(role)
        assert (sockets["kind"], sockets["key"], sockets["descriptors"]) == ("sockets", uri, 1)
        assert prepare["kind"] == "prepare"
    assert stage.kinds(CONTROLLER) == ["prepare"]
    assert uri not in stage.active.bindings.current
    stage.prepared(0, 1, CONTROLLER)
    assert uri in stage.active.bindings.current


def test_one_error_abandons_the_reload_everywhere(stage: Stage, free_port: Callable[[], int]) -> None:
    stage.write("new", f"http://127.0.0.1:{free_port()}")
    before = dict(stage.active.bindings.current)
    stage.reloader.start()
    stage.prepared(0)
    stage.reloader.child_prepared(stage.child(1), "a.json:1:1: wrong\na.json:2:1: wrong too")
    assert stage.outcomes == [["worker 1: a.json:1:1: wrong", "worker 1: a.json:2:1: wrong too"]]
    assert stage.kinds(0)[-1] == stage.kinds(CONTROLLER)[-1] == "abandon"
    stage.prepared(CONTROLLER)  # comes too late
    assert (len(stage.outcomes), stage.body) == (1, "old")
    assert stage.active.bindings.current == before


def test_faulty_config_is_proposed_to_nobody(stage: Stage) -> None:
    stage.file.write_text('{"listen": 7}')
    stage.reloader.start()
    assert len(stage.outcomes) == 1
    assert "npserver.json:1:12: " in stage.outcomes[0][0]
    assert stage.kinds(0) == []


def test_request_during_a_reload_starts_another(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.write("newer")
    stage.reloader.start()
    stage.prepared(0, 1, CONTROLLER)
    stage.committed(0, 1, CONTROLLER)
    assert (stage.outcomes, stage.body) == ([[]], "new")
    stage.prepared(0, 1, CONTROLLER)
    stage.committed(0, 1, CONTROLLER)
    assert (stage.outcomes, stage.body) == ([[], []], "newer")


def test_successor_of_a_child_is_awaited(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    child = stage.child(1)
    stage.reloader.child_exited(child)
    stage.give_process(child)
    stage.reloader.child_started(child)
    assert stage.kinds(1) == ["prepare"]
    stage.prepared(0, CONTROLLER)
    assert stage.outcomes == []
    stage.prepared(1)
    stage.committed(0, 1, CONTROLLER)
    assert stage.outcomes == [[]]


def test_reload_that_takes_too_long_is_abandoned(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    now = time.monotonic()
    (due,) = stage.reloader.due_times()
    assert now < due <= now + PREPARE_WITHIN_S
    stage.reloader.check(due - 1)
    assert stage.outcomes == []
    stage.reloader.check(due)
    assert stage.outcomes == [["a process did not compile the config in time"]]
    assert stage.reloader.due_times() == []


def test_stop_abandons_the_reload_and_starts_no_other(stage: Stage) -> None:
    stage.write("new")
    stage.reloader.start()
    stage.reloader.start()
    stage.reloader.stop()
    stage.reloader.start()
    assert stage.outcomes == [[STOPPING]]
    assert stage.kinds(0) == ["prepare", "abandon"]


def test_watched_file(tmp_path: Path) -> None:
    one = Stage(tmp_path, watch=True)
    (due,) = one.reloader.due_times()
    one.reloader.check(due)
    assert one.kinds(0) == []
    one.write("new, and longer")
    one.reloader.check(due)  # the next look is due a second later
    assert one.kinds(0) == []
    (due,) = one.reloader.due_times()
    one.reloader.check(due)
    assert one.kinds(0) == ["prepare"]
    one.close()
