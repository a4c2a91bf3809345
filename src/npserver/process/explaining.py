"""Compile a config to ask it: for `npserver explain`, for the tests in the config, and for `npserver.testing`."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.errors import ConfigError, Severity
from npserver.process.dry_run import compiling
from npserver.process.live_state import just_started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.config.document import Document
    from npserver.errors import Problem
    from npserver.explain.engine import Explainer
    from npserver.process.live_state import LiveState
    from npserver.program.runtime import Runtime


@contextmanager
def explaining(
    document: Document, *, reads_large_data: bool = True, live: LiveState | None = None
) -> Iterator[Explainer]:
    """Compile `document`, and give what answers questions about it. Nothing is opened or written.

    With `reads_large_data` block lists are read too. `live`: the state of a running server. Raises: ConfigError.
    """
    from npserver.explain.engine import Explainer

    with compiling(document, reads_large_data=reads_large_data, live=live or just_started(document)) as (
        compilation,
        runtime,
    ):
        yield Explainer(compilation, runtime)


def failed_tests(document: Document) -> list[Problem]:
    """Return a problem for each test in `expect` that fails: of severity CHECK_ERROR, with its position.

    The config is compiled once more for them, apart from what serves. Raises: ConfigError.
    """
    if not document.config.expect:
        return []
    from npserver.explain.expectations import asks_names, check_expectations

    try:
        with explaining(document, reads_large_data=asks_names(document)) as explainer:
            return check_expectations(document, explainer)
    finally:
        gc.collect()  # a compiled config is full of cycles, and children are about to share what is left


def refuse_failed_tests(document: Document) -> None:
    """Raise for tests in `expect` that fail: the config must not come into use. Raises: ConfigError."""
    if problems := failed_tests(document):
        raise ConfigError([replace(problem, severity=Severity.ERROR) for problem in problems])


def with_failed_tests(runtime: Runtime) -> Runtime:
    """Return `runtime` with a warning for each test that fails: a server that starts anew is not kept from it."""
    return replace(runtime, warnings=(*runtime.warnings, *failed_tests(runtime.document)))
