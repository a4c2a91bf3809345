"""Explain questions to a compiled config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.explain.compiled import CompiledConfig
from npserver.explain.explanation import Explanation
from npserver.explain.listeners import find_listener, is_drained
from npserver.explain.question import Kind

if TYPE_CHECKING:
    from npserver.explain.question import Question
    from npserver.program.runtime import Runtime
    from npserver.runtime.compilation import Compilation


class Explainer:
    """Explains questions. The runtime must not be closed before; `process.explaining` makes one."""

    def __init__(self, compilation: Compilation, runtime: Runtime) -> None:
        self._config = CompiledConfig(compilation, runtime)
        self._board = compilation.context.row.board
        self._asked = 0

    def explain(self, question: Question, *, is_brief: bool = False) -> Explanation:
        """Return what would come of a question, and why. `is_brief`: without the rules that are beaten."""
        found = Explanation(str(question))
        self._asked += 1
        self._board.rates.clear()  # no question counts for the next one
        listener = find_listener(self._config, question, found)
        if listener is None or is_drained(self._config, listener, found):
            return found
        if question.kind is Kind.HTTP:
            from npserver.explain.web import explain_request

            explain_request(self._config, question, listener, found, is_brief=is_brief)
        elif question.kind is Kind.DNS:
            from npserver.explain.names import explain_name

            explain_name(self._config, question, listener, found, self._asked)
        else:
            from npserver.explain.streams import explain_connection

            explain_connection(self._config, question, listener, found)
        return found
