"""The direction of imports: a module imports only from its own layer and those above it in the list.

What is imported for type checking only does not count: it is gone at run time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

#: Pure modules that lie in a folder of the applications or of the floors: their grammar, their decisions.
PURE_PARTS = {
    "forward.framing",
    "net.proxy_protocol",
    "tls.client_hello",
    "tls.x509",
    "upstream.balancers",
    "upstream.health_state",
    "upstream.retry",
    "upstream.sticky",
    "web.handlers.proxy.relocation",
    "web.handlers.proxy.request_head",
    "web.handlers.proxy.upgrade",
    "web.middleware.basic_auth.passwords",
    "web.routing",
}

#: From the bottom up; each entry is a module or package below `npserver`, with all that lies in it. The longest entry
#: that fits a module counts; `config.py` of any folder is a section.
LAYERS = [
    {"__version__", "errors", "address", "networks", "regex", "guess"},
    {"http", "dns", *PURE_PARTS},
    {"*.config", "config.section", "config.units"},
    {"config"},
    {"runtime", "observe"},
    {"tls"},
    {"net"},
    {"listen", "upstream"},
    {"web"},
    {"forward", "nameserver"},
    {"program"},
    {"process"},
    {"embed", "cli", "__main__"},
]
PURE = LAYERS[0] | LAYERS[1]

#: Imports that still point the wrong way; the list may only shrink.
KNOWN = {
    ("npserver.tls.accept", "npserver.listen.proxy_header"),
}

#: What a pure module gets as arguments instead: I/O, the clock, chance.
IMPURE = {
    "asyncio",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uvloop",
}

MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "npserver" / "__init__.py")


def entry_of(module: str) -> str:
    """The entry of `LAYERS` that `npserver.<part>...` belongs to."""
    parts = module.split(".")[1:]
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if parts[-1] == "config" and end == len(parts) > 1:
            return "*.config"
        if any(name in names for names in LAYERS):
            return name
    raise AssertionError(f"{module} is in no layer: add it to LAYERS, in its place")


def layer_of(module: str) -> int:
    """The number of the layer of `npserver.<part>...`, from the bottom."""
    entry = entry_of(module)
    return next(number for number, names in enumerate(LAYERS) if entry in names)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each module imported at run time, wherever the import stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module == "npserver":
                yield from ((node.lineno, f"npserver.{name.name}") for name in node.names)
            else:
                yield node.lineno, node.module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(ast.Module(node.orelse, []))
        else:
            yield from imports(node)


def faults(source: str, module: str) -> list[str]:
    """Return the imports of `module` that point the wrong way."""
    own = layer_of(module)
    is_pure = entry_of(module) in PURE
    found = []
    for line, name in imports(ast.parse(source)):
        if (module, name) in KNOWN:
            continue
        if name.startswith("npserver.") and name != "npserver.__version__" and layer_of(name) > own:
            found.append(f"line {line}: {name} lies in a later layer")
        if is_pure and name.split(".")[0] in IMPURE:
            found.append(f"line {line}: {name} in a pure module")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_up(path: Path) -> None:
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    assert faults(path.read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("npserver.http.request_parser", "import asyncio"),
        ("npserver.web.routing", "from time import monotonic"),
        ("npserver.net.relay", "from npserver.web.exchange import Exchange"),
        ("npserver.net.relay", "from npserver import cli"),
        ("npserver.config.load", "def f():\n    import npserver.program.compile"),
        ("npserver.dns.zone.tables", "if TYPE_CHECKING:\n    import os\nelse:\n    import time"),
    ],
)
def test_wrong_direction_is_found(module: str, source: str) -> None:
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("npserver.web.handlers.proxy.handler", "from npserver.web.exchange import Exchange\nimport asyncio"),
        ("npserver.http.request_parser", "if TYPE_CHECKING:\n    import asyncio"),
        ("npserver.cli", "from npserver import __version__, program"),
    ],
)
def test_right_direction_passes(module: str, source: str) -> None:
    assert faults(source, module) == []
