"""Configs compiled as far as the rules of their listeners, for tests of the messages up to there."""

from __future__ import annotations

from npserver.config.load import load_text
from npserver.listen.certificates import add_certificates
from npserver.listen.compile import compile_listeners
from npserver.program.assignment import assign_rules
from npserver.program.hosts import hosts_of
from npserver.runtime.compilation import MAY_WRITE, Compilation
from tests.stage.worker import make_context


class Assigned:
    """A config compiled as far as the rules of its listeners."""

    def __init__(self, text: str) -> None:
        compilation = Compilation(load_text(text, "c.json"), make_context())
        MAY_WRITE.put(compilation.context, value=False)
        self.report = compilation.report
        self.listeners = compile_listeners(compilation)
        self.rules = assign_rules(self.report, self.listeners)
        self.listeners = add_certificates(
            compilation, self.listeners, lambda one: hosts_of(rule for _, rule in self.rules[one.key])
        )

    @property
    def problems(self) -> list[str]:
        """Return what is wrong with the config, each problem with its place."""
        return [str(problem) for problem in self.report.problems]

    @property
    def indices(self) -> dict[str, list[int]]:
        """Return the indices of each listener's rules, by its key."""
        return {key: [index for index, _ in rules] for key, rules in self.rules.items()}


def config(listen: str, dispatch: str) -> str:
    """Return a config with each listener and each rule on a line of its own, from line 2 on."""
    return f'{{"listen": [\n{listen}\n], "dispatch": [\n{dispatch}\n]}}'
