"""The key `store`: which directory it is, and what `npserver check` says about it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.process.dry_run import dry_run
from npserver.runtime.compilation import MAY_WRITE, Compilation
from npserver.runtime.context import Context
from npserver.runtime.scoreboard import Directory
from npserver.store.compile import STORE, default_directory
from tests.stage.worker import running_context

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
async def context() -> AsyncIterator[Context]:
    async with running_context() as made:
        yield made


def problems(context: Context, directory: Path, *, may_write: bool = False, **config: Any) -> list[str]:
    """What is said about a store; `DIR` stands for the directory."""
    document = load_text(json.dumps(config), str(directory / "c.json"))
    MAY_WRITE.put(context, value=may_write)
    compilation = Compilation(document, context)
    store = STORE.of(compilation)
    found = [problem.message.replace(str(directory), "DIR") for problem in compilation.report.problems]
    assert (store is None) == (len(compilation.report.warnings) < len(found))
    return found


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory that messages quote uncut, and that all users can pass."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("environment", "user", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/users/x"}, 1000, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a"}, 0, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x/state"}, 0, "/var/lib/npserver"),
        ({"XDG_STATE_HOME": "/x/state"}, 1000, "/x/state/npserver"),
        ({"XDG_STATE_HOME": "relative"}, 1000, "/users/x/.local/state/npserver"),
        ({}, 1000, "/users/x/.local/state/npserver"),
    ],
)
def test_the_default_directory(
    environment: dict[str, str], user: int, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/users/x")
    assert default_directory(environment, user) == directory


class TestDirectory:
    """The directory of a config."""

    async def test_a_relative_one_lies_beside_the_config(self, context: Context, short: Path) -> None:
        assert problems(context, short, may_write=True, store="state") == []
        assert (short / "state").stat().st_mode & 0o777 == 0o700

    async def test_a_check_makes_nothing(self, context: Context, short: Path) -> None:
        assert problems(context, short, store="a/state") == []
        assert list(short.iterdir()) == []

    async def test_a_file_is_no_directory(self, context: Context, short: Path) -> None:
        (short / "state").touch()
        expected = "'store': 'DIR/state' is not a directory: name one, or remove the file"
        assert problems(context, short, store="state") == [expected]
        expected = "'store': 'DIR/state/below' cannot be used: Not a directory"
        assert problems(context, short, store="state/below") == [expected]

    async def test_other_users_must_not_look_into_it(
        self, context: Context, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (short / "state").mkdir()
        (short / "state").chmod(0o755)
        expected = "'store': 'DIR/state' is open to other users (mode 0755): chmod 700 DIR/state"
        assert problems(context, short, store="state") == [expected]

        monkeypatch.setenv("STATE_DIRECTORY", f"{short}/state:{short}/other")
        expected = (
            "'store': 'DIR/state' is open to other users (mode 0755): StateDirectoryMode=0700 in the systemd unit"
        )
        assert problems(context, short) == [expected]

    @AS_ROOT
    async def test_it_must_belong_to_the_user(self, context: Context, short: Path) -> None:
        (short / "state").mkdir(0o700)
        assert problems(context, short, store="state", user="nobody") == [], "root gives away an empty one"
        (short / "state/root.pem").touch()
        expected = (
            "'store': 'DIR/state' belongs to user 0, but npserver runs as user 65534: "
            "chown -R 65534 DIR/state, or name another directory"
        )
        assert problems(context, short, store="state", user="nobody") == [expected]
        (short / "state/.npserver.lock").touch()
        assert problems(context, short, store="state", user="nobody") == [], "and a store"
        (short / "state/.npserver.lock").unlink()
        os.chown(short / "state", 65534, 65534)
        assert problems(context, short, store="state", user="nobody") == []

    @AS_ROOT
    async def test_root_uses_none_of_another_user(self, context: Context, short: Path) -> None:
        """That user could replace the keys. A check only warns: systemd may start the server as that user."""
        (short / "state").mkdir(0o700)
        os.chown(short / "state", 65534, 65534)
        belongs = "'store': 'DIR/state' belongs to user 65534, who can replace the keys in it"
        remedy = 'write the "user" that npserver runs as, chown -R 0 DIR/state, or name another directory'
        assert problems(context, short, store="state", may_write=True) == [
            f"{belongs}, but npserver runs as root: {remedy}"
        ]
        assert problems(context, short, store="state") == [
            f"{belongs}: a server that root starts does not use it: {remedy}"
        ]
        assert not list((short / "state").iterdir())
        assert problems(context, short, store="state", user="nobody", may_write=True) == []

    @AS_ROOT
    async def test_the_user_must_reach_it(self, context: Context, short: Path) -> None:
        (short / "private").mkdir(0o700)
        expected = "'store': 'DIR/private/state' is hidden from user 65534 by 'DIR/private': name another directory"
        assert problems(context, short, store="private/state", user="nobody") == [expected]
        (short / "private/state").mkdir()
        os.chown(short / "private/state", 65534, 65534)
        (short / "private/state").chmod(0o700)
        assert problems(context, short, store="private/state", user="nobody") == [expected]

    async def test_a_failure_to_make_it_is_reported(
        self, context: Context, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: str, mode: int) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(os, "makedirs", refuse)
        expected = "DIR/state/: read-only file system (store)"
        assert problems(context, short, may_write=True, store="state") == [expected]

    async def test_no_home_directory(self, context: Context, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        assert problems(context, short) == ['no home directory to keep things in: write "store": "DIR"']

    def test_a_key_that_nothing_uses_is_warned_of_and_makes_nothing(self, short: Path) -> None:
        text = '{"listen": ["http://:80"], "store": "state"}'
        warnings = dry_run(load_text(text, str(short / "c.json")), Directory()).warnings
        assert [str(one).replace(str(short), "") for one in warnings] == [
            "/c.json:1:37: warning: 'store' is not used: nothing in this config is kept over a restart"
        ]
        assert list(short.iterdir()) == []
