"""Limits of the operating system, and the user and group of the process.

Covers `config.identity`.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

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


@pytest.mark.parametrize(
    ("own", "quotas", "cpus"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"": "max 100000"}, 8),
        ("0::/\n", {"": "250000 100000"}, 3),
        ("0::/system.slice/npserver.service\n", {"system.slice/npserver.service": "200000 100000"}, 2),
        (
            "0::/system.slice/a b.service\n",
            {"system.slice/a b.service": "max 100000", "system.slice": "50000 100000"},
            1,
        ),
        ("9:cpu:/x\n0::/a/b\n", {"a": "400000 100000", "a/b": "600000 100000", "a/b/c": "100000 100000"}, 4),
        ("0::/a\n", {"a": "nonsense"}, 8),
        ("9:cpu:/a\n", {"a": "100000 100000"}, 8),
        (None, {"": "100000 100000"}, 1),
    ],
)
def test_quotas_of_the_control_group_and_those_above_bound_the_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, quotas: dict[str, str], cpus: int
) -> None:
    """`CPUQuota=` of systemd is in the group of the unit, the quota of a container in the topmost that it sees."""
    for group, quota in quotas.items():
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "cpu.max").write_text(f"{quota}\n")
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(limits, "_GROUPS", str(tmp_path))
    monkeypatch.setattr(limits, "_OWN_GROUP", str(tmp_path / "own"))
    assert usable_cpus() == cpus


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
