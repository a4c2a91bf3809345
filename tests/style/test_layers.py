"""The direction of imports: a module imports only from its own layer and the layers below it, and never in a circle.

Imports for type checking count too: a reader has to follow them all the same. Only the pure layers may name, for type
checking, what they must not use.
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
    "nameserver.blocking.answers",
    "nameserver.blocking.list_format",
    "limits.client_key",
    "limits.log_pace",
    "limits.rate",
    "net.proxy_protocol",
    "observe.remote.destinations",
    "store.keys",
    "tls.acme.schedule",
    "tls.client_hello",
    "tls.der",
    "tls.revocation",
    "tls.x509",
    "upstream.balancers",
    "upstream.fastcgi_records",
    "upstream.health_state",
    "upstream.retry",
    "web.handlers.proxy.references",
    "web.handlers.proxy.relocation",
    "web.handlers.proxy.request_head",
    "web.handlers.proxy.upgrade",
    "web.middleware.basic_auth.htpasswd",
    "web.middleware.jwt.key_set",
    "web.middleware.jwt.token",
    "web.middleware.basic_auth.passwords",
    "web.matching.path_regex",
    "web.matching.values",
    "web.routing",
    "web.server.http3.priority",
}

#: From the bottom up; each entry is a module or package below `npserver`, with all that lies in it. The longest entry
#: that fits a module counts; `config.py` of any folder is a section.
LAYERS = [
    {
        "__version__",
        "errors",
        "address",
        "networks",
        "regex",
        "regex_bounds",
        "guess",
        "extras",
        "nginx_variables",
        "idn",
        "host_hints",
        "port_range",
    },
    {"http", "dns", *PURE_PARTS},
    {"*.config", "config.section", "config.units"},
    {"config"},
    {"runtime", "observe", "limits"},
    {"store"},
    {"sources"},
    {"network_sets"},
    {"tls"},
    {"net"},
    {"listen", "upstream"},
    {"web"},
    {"forward", "nameserver"},
    {"program"},
    {"explain", "importing"},
    {"process"},
    {"embed", "testing", "cli", "__main__"},
]
PURE = LAYERS[0] | LAYERS[1]

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


def imports(tree: ast.AST, *, is_typing: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Line and name of each module imported, wherever the import stands, and whether it is for type checking only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name, is_typing) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module.startswith("npserver"):
                for name in node.names:
                    inner = f"{node.module}.{name.name}"
                    is_module = node.module == "npserver" or (SOURCE / f"{inner.replace('.', '/')}.py").exists()
                    yield node.lineno, inner if is_module else node.module, is_typing
            else:
                yield node.lineno, node.module, is_typing
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(ast.Module(node.body, []), is_typing=True)
            yield from imports(ast.Module(node.orelse, []), is_typing=is_typing)
        else:
            yield from imports(node, is_typing=is_typing)


def faults(source: str, module: str) -> list[str]:
    """Return the imports of `module` that point the wrong way."""
    own = layer_of(module)
    is_pure = entry_of(module) in PURE
    found = []
    for line, name, is_typing in imports(ast.parse(source)):
        if name.startswith("npserver.") and name != "npserver.__version__" and layer_of(name) > own:
            found.append(f"line {line}: {name} lies in a later layer")
        if is_pure and not is_typing and name.split(".")[0] in IMPURE:
            found.append(f"line {line}: {name} in a pure module")
    return found


def test_imports_point_up() -> None:
    texts = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path.read_text() for path in MODULES}
    assert {module: found for module, text in texts.items() if (found := faults(text, module))} == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("npserver.http.request_parser", "import asyncio"),
        ("npserver.web.routing", "from time import monotonic"),
        ("npserver.net.relay", "from npserver.web.exchange import Exchange"),
        ("npserver.net.relay", "from npserver import cli"),
        ("npserver.config.load", "def f():\n    import npserver.program.compile"),
        ("npserver.net.relay", "if TYPE_CHECKING:\n    from npserver.web.exchange import Exchange"),
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


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Return the modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for one in edges.get(ahead.pop(), ()):
                if one not in seen:
                    seen.add(one)
                    ahead.append(one)
        return seen

    return sorted(module for module in edges if module in reached(module))


def test_no_module_is_part_of_an_import_circle() -> None:
    edges = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): {
            name for _, name, _ in imports(ast.parse(path.read_text())) if name.startswith("npserver.")
        }
        for path in MODULES
    }
    assert len(edges) > 200
    assert circles(edges) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
