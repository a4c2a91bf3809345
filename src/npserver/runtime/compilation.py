"""The state of one compilation of a config, passed to all compilers: the functions of each package's `compile.py`.

`program.compile` creates it once per start, reload or check. A compiler reads the config from `document`, adds errors
and warnings to `report`, and shares values with other compilers through `PerCompilation` constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from npserver.config.report import Report
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.schema import Config
    from npserver.runtime.context import Context
    from npserver.runtime.front import Service

T = TypeVar("T")

#: Whether compilers may write to disk, such as to the store: in a check they may not.
MAY_WRITE = PerProcess(lambda context: True)

#: Whether data that takes long to read is read to say what is wrong with it: in `npserver check` it is.
READS_LARGE_DATA = PerProcess(lambda context: False)

#: Called once, and forgotten, when another config has become the active one.
REPLACED: PerProcess[set[Callable[[], None]]] = PerProcess(lambda context: set())

#: Whether services of the config run in this process: in the controller, or in a process that is all there is.
RUNS_SERVICES = PerProcess(lambda context: False)


class Compilation:
    """One compilation of the config in `document`, for the process of `context`."""

    __slots__ = ("activations", "context", "document", "made", "report", "services")

    def __init__(self, document: Document, context: Context) -> None:
        self.document = document
        self.context = context
        self.report = Report(document)
        self.services: list[Service] = []  # added by compilers, run by the controller
        self.activations: list[Callable[[], None]] = []  # called when the config has become the active one
        self.made: dict[object, Any] = {}  # values of `PerCompilation` constants

    @property
    def config(self) -> Config:
        """The decoded config."""
        return self.document.config


class PerCompilation(Generic[T]):
    """A value shared by compilers: one per compilation, made on first use.

    Defined as a constant in the module that owns the value, `UPSTREAMS = PerCompilation(make)`, and read with
    `UPSTREAMS.of(compilation)`.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Compilation], T]) -> None:
        self._make = make

    def of(self, compilation: Compilation) -> T:
        """Return the value of this compilation."""
        made = compilation.made
        if self not in made:
            made[self] = self._make(compilation)
        value: T = made[self]
        return value

    def put(self, compilation: Compilation, value: T) -> None:
        """Set a value that another compiler has made, before it is first used."""
        compilation.made[self] = value


#: The listener's label and a description for each rule of each listener. It is complete when all is compiled.
SUMMARY: PerCompilation[list[tuple[str, str]]] = PerCompilation(lambda _: [])
