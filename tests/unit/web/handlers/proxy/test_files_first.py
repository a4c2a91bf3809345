"""Which requests are answered with files before the upstream is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from npserver.web.handlers.proxy.files_first import FilesFirst


@pytest.mark.parametrize(
    ("method", "path", "is_file"),
    [("GET", "/a", True), ("HEAD", "/a", True), ("POST", "/a", False), ("GET", "/b", False)],
)
def test_files_are_only_read(method: str, path: str, is_file: bool) -> None:
    files: Any = SimpleNamespace(holds=lambda path: path == "/a", prepared=None)
    inner: Any = SimpleNamespace(redirects_to_slash=True)
    handler = FilesFirst(files, inner)
    exchange: Any = SimpleNamespace(request=SimpleNamespace(method=method, path=path))
    assert (handler.choose(exchange) is files) is is_file
    assert handler.redirects_to_slash
