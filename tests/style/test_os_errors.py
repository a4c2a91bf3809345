"""Messages say "connection refused", not "[Errno 111] Connection refused": no OSError is put into a text as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "npserver"
OS_ERRORS = {"OSError", "ConnectionError", "PermissionError", "FileNotFoundError", "TimeoutError", "gaierror"}


def raw_errors(tree: ast.AST) -> Iterator[int]:
    """Yield the lines where a caught OSError becomes text without `errors.reason_of` or a function like it."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        caught = {node.id if isinstance(node, ast.Name) else node.attr for node in ast.walk(handler.type)
                  if isinstance(node, ast.Name | ast.Attribute)}  # fmt: skip
        if caught & OS_ERRORS:
            for statement in handler.body:
                yield from texts_of(statement, handler.name)


def texts_of(tree: ast.AST, name: str) -> Iterator[int]:
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.FormattedValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("str", "log.")):
            parts = node.args
        yield from (node.lineno for part in parts if isinstance(part, ast.Name) and part.id == name)


def test_errors_of_the_system_are_told_in_words() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        allowed = {  # `str` only asks whether there is a text
            number for number, line in enumerate(text.splitlines(), 1) if "reason_of(error) if str(error)" in line
        }
        found |= {f"{path.relative_to(SOURCE)}:{line}" for line in raw_errors(ast.parse(text)) if line not in allowed}
    assert found == set()


def test_each_way_would_be_found() -> None:
    text = "try: pass\nexcept (OSError, X) as e:\n f'{e}'\n str(e)\n log.info('%s', e)\n log.info('%s', reason_of(e))"
    assert list(raw_errors(ast.parse(text))) == [3, 4, 5]
