"""Limits of the operating system, and the user and group of the process.

Covers `config.identity`.
"""

from __future__ import annotations

import os
import resource

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError, StartError
from npserver.process import limits
from npserver.process.limits import Identity, find_identity, raise_descriptor_limit, usable_cpus


def test_as_many_files_may_be_open_as_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_there_is_a_cpu_to_use() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


def identity(text: str) -> Identity | None:
    return find_identity(load_text(text, "a.json"))


def test_without_user_and_group_nobody_else_is_assumed() -> None:
    assert identity("{}") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user": "no-such-user"}', "a.json:1:10: .*'no-such-user'"),
        ('{"group": "no-such-group"}', "a.json:1:11: .*'no-such-group'"),
        ('{"user": "4294967290"}', "'4294967290'"),
    ],
)
def test_an_unknown_user_or_group_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        identity(text)


def test_a_user_by_name_or_number_brings_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = identity('{"user": "nobody"}')
    assert nobody == identity('{"user": "65534"}') == Identity(65534, nobody.group if nobody else -1, "nobody")


def test_a_group_alone_keeps_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert identity('{"group": "0"}') == Identity(0, 0, "")


def test_only_root_may_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.os, "geteuid", lambda: 12345)
    with pytest.raises(StartError, match=r'a.json:1:10: "user" .*root'):
        identity('{"user": "nobody"}')
