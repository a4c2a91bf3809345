"""Collects what is wrong with a config while it is compiled, so that everything is said at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import ConfigError, Problem, Severity

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.networks import NetworkSet

_USED = " (used by the rule at "

#: Where in the config something stands: keys and list indices, as ("dispatch", 3, "root").
Path = tuple[str | int, ...]


def key_of(path: Path) -> str:
    """Return a path as log lines write it: `dispatch[3].root`."""
    return "".join([f"[{part}]" if isinstance(part, int) else f".{part}" for part in path])[1:]


def placed(path: Path, value: str | list[str]) -> list[tuple[Path, str]]:
    """Return the texts of a key that takes one text or a list, each with its own path."""
    return [(path, value)] if isinstance(value, str) else [((*path, index), text) for index, text in enumerate(value)]


class Report:
    """The problems found so far. A compiler that reports one continues, so that all are found in one run."""

    __slots__ = ("document", "network_sets", "problems", "unused_learnt")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        #: The `networks` that come from data, by name: made by `network_sets.compile`.
        self.network_sets: dict[str, NetworkSet] = {}
        self.unused_learnt: set[str] = set()  # the names of those that learn, and that no key has named yet

    def error(self, path: Path, message: str) -> None:
        """Something that keeps the config from being used."""
        self._add(path, message, Severity.ERROR)

    def check_error(self, path: Path, message: str) -> None:
        """Something that must be put right, but that a server which ran yesterday must still start with."""
        self._add(path, message, Severity.CHECK_ERROR)

    def warn(self, path: Path, message: str) -> None:
        """Something that the operator should know."""
        self._add(path, message, Severity.WARNING)

    @property
    def warnings(self) -> list[Problem]:
        """The problems that do not prevent a start."""
        return [problem for problem in self.problems if problem.severity is not Severity.ERROR]

    def raise_errors(self) -> None:
        """Raises: ConfigError with all problems if one of them is an error."""
        if len(self.warnings) < len(self.problems):
            raise ConfigError(sorted(self.problems, key=lambda problem: (problem.file, problem.line, problem.column)))

    def _add(self, path: Path, message: str, severity: Severity) -> None:
        if (self.document.gone or self.document.lacking) and self.document.is_doubtful(path):
            return
        line, column = self.document.position(path)
        if user := self.document.user(path):
            if any(
                (one.line, one.column, one.message.partition(_USED)[0]) == (line, column, message)
                for one in self.problems
            ):
                return  # it is told for one rule only
            message = f"{message}{_USED}{user})"
        problem = Problem(self.document.hide(message), self.document.origin(path), line, column, severity)
        if problem not in self.problems:
            self.problems.append(problem)
