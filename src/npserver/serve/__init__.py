"""Serving clients: the HTTP server and client protocols, the handlers, forwards and DNS fronts.

The package can be called: `async with npserver.serve(config) as server:` is `npserver.embed.serve`. The name is both
the layer's and the verb that other programs use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that is a function too."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("npserver.embed").serve(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
