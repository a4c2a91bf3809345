"""Docstrings name only what exists.

A dotted name in backticks is a module or something in one, by its path below `npserver` (`http.chunked`), from the
module it stands in (`Request.fields`), a key of the config (`timeouts.idle`), or part of the standard library. Another
name in backticks is an identifier of the source, if it looks like one.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "npserver"
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in sorted(SOURCE.rglob("*.py"))}
PACKAGES = {name.removesuffix(".__init__") for name in MODULES if name.endswith("__init__")}
NAMED = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?`(?!`)")

#: First parts of dotted names from elsewhere: packages of others, and hosts in examples.
FOREIGN = sys.stdlib_module_names | {"cryptography", "msgspec", "ngh2", "uvloop", "npserver"}
#: Words in backticks that are no names of the source: parts of records and fields, a C struct.
OTHER_WORDS = {"_hidden", "_service", "mmsghdr"}
#: What looks like an identifier, and not like an example such as `a2` or `TYPE65280`.
WORD = re.compile(r"[a-z_]{3,}|[A-Z]+[a-z]\w*")
EXAMPLES = re.compile(r".*\.(com|local|json|toml|html|org|test|example|arpa|lan|md|pem|crt|key)")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def names_of(module: str) -> dict[str, ast.AST]:
    """Return what a module defines."""
    return names_in(tree_of(MODULES[module]).body)


def names_in(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """Return what a module or class defines: functions, classes, constants, fields, imports."""
    found: dict[str, ast.AST] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                found |= {one.id: node for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name): node for alias in node.names}
        elif isinstance(node, (ast.If, ast.Try)):
            found |= names_in(node.body)
    return found


def attributes_of(node: ast.AST) -> set[str]:
    """Return the members of a class: what it defines, its slots, what its methods set on `self`."""
    if not isinstance(node, ast.ClassDef):
        return set()
    found = set(names_in(node.body))
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self":
            found.add(one.attr)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            found.add(one.value)  # of `__slots__`
    return found


def exists_in(module: str, parts: list[str]) -> bool:
    """Whether a module has what the remaining parts of a dotted name say."""
    found = names_of(module)
    if not parts:
        return True
    if parts[0] not in found:
        return False
    node = found[parts[0]]
    has_bases = isinstance(node, ast.ClassDef) and bool(node.bases)
    return len(parts) == 1 or not isinstance(node, ast.ClassDef) or has_bases or parts[1] in attributes_of(node)


@cache
def config_keys() -> set[str]:
    """Return the keys of all sections of the config."""
    fields: set[str] = set()
    for name, path in MODULES.items():
        if name.endswith("config") or name == "config.schema":
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    fields.add(node.target.id.rstrip("_"))
    return fields


@cache
def identifiers() -> set[str]:
    """Return every name that the source uses: what it defines, calls, takes and reads, and words of its texts."""
    found: set[str] = set()
    for path in MODULES.values():
        documentation = {id(text) for text, _ in docstrings(tree_of(path))}
        for node in ast.walk(tree_of(path)):
            for field in ("id", "attr", "arg", "name", "asname", "module"):
                if isinstance(value := getattr(node, field, None), str):
                    found |= set(value.split("."))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                found |= {node.value, *re.findall(r"\w+", node.value)}
    found |= {*dir(asyncio.AbstractEventLoop), *dir(asyncio.Transport)}
    return found | PACKAGES | {part for name in MODULES for part in name.split(".")}


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.Constant, int]]:
    """Yield the docstrings of a module, its classes and functions, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.value, first.lineno


def exists(name: str, module: str) -> bool:
    """Whether a dotted name in a docstring of `module` leads to something."""
    parts = name.split(".")
    for package in (*accumulate_packages(module), ""):
        for end in range(len(parts), 0, -1):
            path = ".".join([*([package] if package else []), *parts[:end]])
            if path in MODULES and exists_in(path, parts[end:]):
                return True
            if path in PACKAGES and exists_in(f"{path}.__init__", parts[end:]):
                return True
    is_value = parts[0] in used_in(module) | {"loop", "transport"} and parts[-1] in identifiers()
    is_file = parts[-1] == "py" and any(path.name == name for path in MODULES.values())
    is_key = parts[0] in config_keys() and parts[-1] in config_keys()
    return exists_in(module, parts) or is_value or is_file or is_key or name in identifiers()


@cache
def used_in(module: str) -> set[str]:
    """Return the variables, parameters and attributes that a module uses, with how its functions are called."""
    nodes = list(ast.walk(tree_of(MODULES[module])))
    found = {value for node in nodes for field in ("id", "arg", "attr") if (value := getattr(node, field, None))}
    return found | set(dir(builtins))


def accumulate_packages(module: str) -> list[str]:
    """Return the packages that a module lies in, the innermost first."""
    parts = module.split(".")[:-1]
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def test_docstrings_name_what_exists() -> None:
    assert {module: found for module in MODULES if (found := wrong_names(module))} == {}


def wrong_names(module: str) -> list[str]:
    """Return the names in the docstrings of a module that nothing has, each with its line."""
    wrong = []
    for text, line in docstrings(tree_of(MODULES[module])):
        for name in NAMED.findall(str(text.value)):
            if "." in name:
                is_foreign = name.split(".")[0] in FOREIGN - {"http", "select"} or EXAMPLES.fullmatch(name)
                if not is_foreign and not exists(name, module):
                    wrong.append(f"{line}: `{name}`")
            elif WORD.fullmatch(name) and name not in identifiers() | OTHER_WORDS:
                wrong.append(f"{line}: `{name}`")
    return wrong
