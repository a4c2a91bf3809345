"""One compilation of a config: the object that every compiler (`compile.py` of any package) is handed.

`program.compile` makes it, once per start, reload or check. A compiler reads the config from `document`, writes what is
wrong to `report`, and shares with other compilers through `PerCompilation` constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from npserver.config.report import Report

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.schema import Config
    from npserver.runtime.context import Context
    from npserver.runtime.front import Service

T = TypeVar("T")


class Compilation:
    """A config being compiled for the process that `context` belongs to."""

    __slots__ = ("context", "document", "made", "report", "services")

    def __init__(self, document: Document, context: Context) -> None:
        self.document = document
        self.context = context
        self.report = Report(document)
        self.services: list[Service] = []  # for the controller to run; compilers add to it
        self.made: dict[object, Any] = {}  # values of `PerCompilation` constants

    @property
    def config(self) -> Config:
        """The config itself."""
        return self.document.config


class PerCompilation(Generic[T]):
    """A value that several compilers use: made on first use, once per compilation.

    A constant of the module that owns the value: `UPSTREAMS = PerCompilation(make)`; read by its `of(compilation)`.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Compilation], T]) -> None:
        self._make = make

    def of(self, compilation: Compilation) -> T:
        """Return the value that belongs to `compilation`."""
        made = compilation.made
        if self not in made:
            made[self] = self._make(compilation)
        value: T = made[self]
        return value
