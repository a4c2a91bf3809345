"""Test configs of npserver: ask what a server with a config would do, without one that runs.

`npserver.testing.plugin` is the same as a plugin of pytest. docs/explain.md has examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from npserver.embed import ConfigLike, load_config
from npserver.explain.explanation import Explanation, Step
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining
from npserver.process.explaining import failed_tests as _failed_tests

if TYPE_CHECKING:
    from npserver.explain.engine import Explainer

__all__ = ["Ask", "ConfigLike", "Explanation", "Step", "asking", "explain", "failed_tests"]


class Ask:
    """Explains questions about one config. Made by `asking`."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    def __call__(
        self,
        ask: str,
        *,
        from_: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        sni: str | None = None,
        listener: str | None = None,
    ) -> Explanation:
        """Return what would come of a question, as `explain` does. Raises: ValueError."""
        question = parse_question(ask, client=from_, method=method, headers=headers or {}, sni=sni, listener=listener)
        return self._explainer.explain(question)


def explain(
    config: ConfigLike,
    ask: str,
    *,
    from_: str | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    sni: str | None = None,
    listener: str | None = None,
) -> Explanation:
    """Return what a server with `config` would do: a dict as in a config file, its path, or a loaded `Document`.

    Args:
        config: relative paths in a dict are resolved against the working directory.
        ask: a URL, `dns:NAME TYPE`, or a connection such as `tcp://:443`: see docs/explain.md.
        from_: the address of the client; None: anybody on the internet, or this machine at a loopback address.
        method: of the HTTP request.
        headers: fields of the HTTP request, besides Host.
        sni: the server name in the TLS handshake; None: the host of the URL.
        listener: the name or URI of a listener, where the address leaves it open.

    Raises: ConfigError; ValueError for a question that is not valid.
    """
    with asking(config) as question:
        return question(ask, from_=from_, method=method, headers=headers, sni=sni, listener=listener)


@contextmanager
def asking(config: ConfigLike) -> Iterator[Ask]:
    """Give a function that explains questions about `config`, which is compiled once. Raises: ConfigError."""
    with explaining(load_config(config)) as explainer:
        yield Ask(explainer)


def failed_tests(config: ConfigLike) -> list[str]:
    """Return a line for each test in the config's `expect` that fails, with its position. Raises: ConfigError."""
    return [f"{one.file}:{one.line}:{one.column}: {one.message}" for one in _failed_tests(load_config(config))]
