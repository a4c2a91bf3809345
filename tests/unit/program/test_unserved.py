"""Parts of the config that no listener serves are checked too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory


@pytest.fixture(autouse=True)
def _no_loop_left() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)


def problems(text: str) -> list[str]:
    """Return everything that compiling a config says."""
    try:
        return [str(problem) for problem in dry_run(load_text(text, "a.json"), Directory()).warnings]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


def test_a_rule_of_a_listener_that_does_not_exist_is_looked_at_too() -> None:
    found = problems(
        """{"listen": ["http://127.0.0.1:0"], "dispatch": [
        {"handler": "respond", "listener": "none", "path": "no-slash"},
        {"handler": "respond"}]}"""
    )
    assert len(found) == 2
    assert "none" in found[0]
    assert "must start with a slash" in found[1]


@pytest.mark.parametrize(
    ("key", "records"),
    [
        ("dns", '{"a.local": {"A": "nonsense"}}'),
        ("dns_views", '[{"from": "10.0.0.0/8", "dns": {"a.local": {"A": "nonsense"}}}]'),
    ],
)
def test_records_that_no_rule_answers_from_are_named_and_looked_at(key: str, records: str) -> None:
    listen = '"listen": ["http://127.0.0.1:0"], "dispatch": [{"handler": "respond"}]'
    found = problems(f'{{{listen}, "{key}": {records}}}')
    assert any(f"'{key}' is not used: no rule has handler 'dns'" in one for one in found), found
    assert any("nonsense" in one for one in found), found


@pytest.mark.parametrize(
    ("listen", "is_unused"),
    [
        ('"http://127.0.0.1:0"', True),
        ('{"uri": "https://127.0.0.1:0", "tls": {"cert": "own.crt", "key": "own.key"}}', True),
        ('"HTTPS://127.0.0.1:0"', False),
        ('"http://127.0.0.1:0", "ssl://127.0.0.1:0"', False),
    ],
)
def test_a_tls_section_that_no_listener_uses_is_named(listen: str, is_unused: bool) -> None:
    found = problems(f'{{"listen": [{listen}], "tls": {{"cert": "no.crt", "key": "no.key"}}}}')
    assert any("'tls' is not used" in one for one in found) is is_unused, found
