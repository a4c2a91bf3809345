"""A plugin of pytest: the fixture `npserver_config`. A conftest.py asks for it by name:

pytest_plugins = ["npserver.testing.plugin"]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from npserver.testing import Ask, ConfigLike, asking


@pytest.fixture(scope="session")
def npserver_config() -> Iterator[Callable[[ConfigLike], Ask]]:
    """A function: a config to a function that explains questions about it. A file is compiled once in a session."""
    made: dict[str, Ask] = {}
    with ExitStack() as stack:

        def ask_about(config: ConfigLike) -> Ask:
            if not isinstance(config, str | os.PathLike):
                return stack.enter_context(asking(config))
            path = os.path.abspath(config)
            if path not in made:
                made[path] = stack.enter_context(asking(path))
            return made[path]

        yield ask_about
