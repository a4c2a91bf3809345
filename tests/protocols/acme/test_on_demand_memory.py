"""Certificates on demand that the store has: loaded when they are needed, renewed, dropped from memory.

Covers `tls.acme.on_demand.server_tls`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from npserver.tls.acme.on_demand.server_tls import LOADED
from npserver.tls.store import CERTIFICATES, TICKETS_TOPIC
from npserver.tls.ticket_keys import get_keys
from npserver.tls.watch import TOPIC
from tests.stage.asked_application import asked_application
from tests.stage.on_demand import Serve, kept, leaf, lines


async def test_the_store_has_what_was_issued_before_and_nobody_is_asked(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    issued = certificates("a.kept.test")
    file = kept(tmp_path, issued, "a.kept.test")
    with asked_application(500) as application:
        application.close()
        async with serve(application) as served:
            assert await served.certificate("a.kept.test") == leaf(issued)
            Path(file).unlink()
            assert await served.certificate("a.kept.test") == leaf(issued), "it is in memory now"
            assert served.count("tls.on_demand.waits") == 0


async def test_a_flood_of_other_names_does_not_keep_it_from_being_served(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    issued = certificates("a.kept.test")
    kept(tmp_path, issued, "a.kept.test")
    with asked_application(404) as application:
        application.may_answer.clear()
        async with serve(application, max_waiting=1, max_asks=1) as served:
            first = await served.begin("a.flood.test")
            await served.until_asked(application, 1)
            assert await served.has_default("b.flood.test")
            assert await served.certificate("a.kept.test") == leaf(issued)
            first.close()


async def test_another_entry_does_not_use_it_unasked(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    issued = certificates("a.kept.test")
    kept(tmp_path, issued, "a.kept.test", key="listen[5].tls.acme.on_demand")
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.certificate("a.kept.test") != leaf(issued)
    assert application.asked == ["a.kept.test"]


async def test_a_renewed_certificate_is_used_at_once(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    before, after = certificates("a.kept.test"), certificates("a.kept.test", "b.kept.test")
    file = kept(tmp_path, before, "a.kept.test")
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.certificate("a.kept.test") == leaf(before)
            kept(tmp_path, after, "a.kept.test")
            served.context.pubsub.publish(TOPIC, [file])
            assert await served.certificate("a.kept.test") == leaf(after)


async def test_the_least_recently_used_leave_memory(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    names = [f"{letter}.kept.test" for letter in "abc"]
    issued = {name: certificates(name) for name in names}
    for name in names:
        kept(tmp_path, issued[name], name)
    with asked_application(404) as application:
        async with serve(application, max_loaded=2) as served:
            for name in [*names, *reversed(names)]:
                assert await served.certificate(name) == leaf(issued[name])
            assert repr(LOADED.of(served.context)) == "<LoadedOnDemand 2>"
    assert application.asked == []


async def test_one_that_has_expired_is_not_used(serve: Serve, tmp_path: Path, certificates: Callable[..., Any]) -> None:
    issued = certificates("a.kept.test", not_after=datetime.now(UTC) + timedelta(hours=1))
    kept(tmp_path, issued, "a.kept.test")
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.certificate("a.kept.test") == leaf(issued)
            LOADED.of(served.context)._clock = lambda: time.time() + 7200
            kept(tmp_path, issued, "a.kept.test", -1.0)
            assert await served.certificate("a.kept.test") != leaf(issued)
    assert application.asked == ["a.kept.test"]


async def test_one_that_is_damaged_in_the_store_is_said_with_its_file(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    file = kept(tmp_path, certificates("a.kept.test"), "a.kept.test")
    Path(file).write_text("damaged")
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.has_default("a.kept.test")
    at_worker, at_controller = lines(caplog, logging.WARNING)
    assert at_worker.startswith(f"no certificate for a.kept.test: {file} cannot be used: ")
    assert at_worker.endswith("(store)")
    assert at_controller == "the stored certificate for a.kept.test is damaged, and is not used (store)"
    assert application.asked == ["a.kept.test"]


async def test_tickets_of_one_certificate_are_accepted_by_all_workers(
    serve: Serve, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    """They are derived from the secrets that all processes have, also after these have changed."""
    kept(tmp_path, certificates("a.kept.test"), "a.kept.test")
    with asked_application(404) as application:
        async with serve(application) as served:
            await served.certificate("a.kept.test")
            (loaded,) = LOADED.of(served.context)._loaded.values()
            before = get_keys(loaded.context)
            store = CERTIFICATES.of(served.context)
            secrets = store.next_secrets(time.time() + 2 * 86400)
            served.context.pubsub.publish(TICKETS_TOPIC, secrets)
            assert loaded._secrets == store.secrets
            assert get_keys(loaded.context) != before
