"""The modules of `src/npserver` and the tests that name them, for `tests/style/test_map.py`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "npserver"
TESTS = ROOT / "tests"


def is_declaration(path: Path) -> bool:
    """Whether a module has no function with a body: only structs, protocols and constants."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = node.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
        if not all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body):
            return False
    return True


def unit_test_of(module: str) -> Path:
    """Return where the test of a module lies unless the table says otherwise."""
    *folders, name = module.split(".")
    return TESTS.joinpath("unit", *folders, f"test_{name}.py")


@cache
def text_of(file: Path) -> str:
    """Return a test file's text and that of the stage that it imports."""
    text = file.read_text()
    stage = set(re.findall(r"^\s*from (tests\.[\w.]+) import", text, re.MULTILINE))
    return text + "".join(text_of(ROOT / f"{one.replace('.', '/')}.py") for one in sorted(stage))


def names(text: str, module: str) -> bool:
    """Whether a text has the dotted name of a module, in a docstring or an import."""
    package, _, name = module.rpartition(".")
    imported = rf"from npserver\.{re.escape(package)} import [^\n]*\b{name}\b"
    return bool(re.search(rf"(?<![\w]){re.escape(module)}(?!\.?\w)|{imported}", text))


MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if not path.name.startswith("__")
}
