"""A stage for FastCGI: a `fastcgi` rule over loopback, with a raw FastCGI server behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npserver.runtime.compilation import Compilation
from npserver.web.exchange import Handler
from npserver.web.handlers.fastcgi.compile import compile_fastcgi
from npserver.web.handlers.proxy.proxy import Proxy
from tests.protocols.proxying import Origin, Stage


class ScriptStage(Stage):
    """One fastcgi rule, served on a loopback port."""

    def __init__(self, to: Origin | str, root: Path, *, config: dict[str, Any] | None = None, **rule: Any) -> None:
        Stage.__init__(self, "", config=config)
        uri = f"tcp://127.0.0.1:{to.port}" if isinstance(to, Origin) else to
        self.rule = {"handler": "fastcgi", "to": uri, "root": str(root), **rule}
        self.config["dispatch"] = [self.rule]

    def compile(self, compilation: Compilation, rule: Any) -> tuple[Handler, Proxy]:
        handler = compile_fastcgi(compilation, ("dispatch", 0), rule)
        compilation.report.raise_errors()
        assert handler is not None
        return handler, handler.gateway
