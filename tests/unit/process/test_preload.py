"""Covers `process.preload`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import npserver
from npserver.process.preload import ORDERING

SOURCE = Path(npserver.__file__).parent


def late_imports() -> Iterator[str]:
    """Return the modules that functions of the server import when they run, those of other packages included."""
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "cli") or path.is_relative_to(SOURCE / "importing"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (name.name for name in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield str(node.module)
                    yield from (f"{node.module}.{name.name}" for name in node.names)


def test_whatever_a_function_imports_when_it_runs_is_loaded() -> None:
    script = "import json, sys, npserver.process.preload as one; one.import_all(); print(json.dumps(list(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    loaded = json.loads(done.stdout)
    late = {name for name in late_imports() if is_installed(name)}
    assert {"ctypes", "brotli", "npserver.tls.accept"} <= late
    assert late <= set(loaded)
    modules = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in SOURCE.rglob("*.py")}
    names = {
        name.removesuffix(".__init__")
        for name in modules
        if not name.startswith(("npserver.cli", "npserver.importing", "npserver.testing"))
    }
    assert names - set(loaded) == {"npserver.__main__", *ORDERING}


def is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
    except ValueError:  # cryptography puts objects of its own in the place of some modules
        return name in sys.modules
