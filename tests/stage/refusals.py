"""The refusals in the source of npserver, found in its syntax trees: each with the reason that it logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from npserver.http.fields import CONTROL

SOURCE = Path(__file__).parents[2] / "src" / "npserver"
#: What raises or answers a refusal: the name called, and the places of its status (-1: none), its reason and its key.
CALLS = {
    "fail": (0, 1, 2), "_break_off": (0, 1, 2), "upload_failed": (0, 1, 2), "Refusal": (0, 1, 2),
    "BadRequest": (1, 0, 2), "_error": (1, 0, 2), "give_up": (-1, 0, 1),
}  # fmt: skip
_PASSING_ON = {"_break_off", "upload_failed", "give_up"}  # methods that take a reason for `fail`
_PASSED_ON = {"str(error)", "refusal.reason", "error.reason"}


class Site(Struct, frozen=True):
    """One place that refuses requests."""

    place: str  # "web/server/front.py:60"
    call: ast.Call
    reason: ast.expr | None
    pattern: str  # a regular expression that the reason matches; "" if it is passed on, or cannot be told
    is_passed_on: bool  # whether the reason was made at another site, or is a member's of `FileError`

    @property
    def authority(self) -> str:
        """The source of the arguments that name what decided; "" if there are none."""
        positional = self.call.args[CALLS[_name(self.call)][2] :][:1]
        named = [one.value for one in self.call.keywords if one.arg in ("key", "rfc")]
        texts = [ast.unparse(one) for one in (*positional, *named)]
        return " ".join([text for text in texts if text not in ("''", "None")])


def sites(path: Path) -> Iterator[Site]:
    """Yield the refusals of a module of HTTP."""
    tree = _parse(path.read_text())
    found: dict[ast.Call, ast.FunctionDef] = {}  # the calls with the function that they are in, the innermost
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef):
            found |= {node: scope for node in ast.walk(scope) if isinstance(node, ast.Call) and _is_refusal(node)}
    for call, scope in found.items():
        reason = _reason(call)
        place = f"{path.relative_to(SOURCE) if path.is_relative_to(SOURCE) else path.name}:{call.lineno}"
        pattern = "" if reason is None else _pattern(reason, _assigned(scope))
        yield Site(place, call, reason, pattern, reason is not None and _is_passed_on(reason, scope))


def _parse(source: str) -> ast.Module:
    """Parse; once more if another thread did so too, to write a traceback: Python 3.11.2 fails then (gh-106905)."""
    try:
        return ast.parse(source)
    except SystemError:
        return ast.parse(source)


def modules() -> list[Path]:
    """Return the modules that may refuse HTTP requests."""
    others = [SOURCE / "nameserver" / "https.py", SOURCE / "upstream" / "waiting_queue.py"]
    found = [*(SOURCE / "http").rglob("*.py"), *(SOURCE / "web").rglob("*.py"), *others]
    return sorted(path for path in found if path.name != "response_parser.py")


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_refusal(call: ast.Call) -> bool:
    name = _name(call)
    if name in _PASSING_ON and len(call.args) < 2:
        return False  # another function of that name
    return name in CALLS and not (name == "fail" and isinstance(call.func, ast.Name))


def _reason(call: ast.Call) -> ast.expr | None:
    place = CALLS[_name(call)][1]
    if len(call.args) > place:
        return call.args[place]
    return next((one.value for one in call.keywords if one.arg in ("reason", "message")), None)


def _is_passed_on(reason: ast.expr, scope: ast.FunctionDef) -> bool:
    if isinstance(reason, ast.Name) and scope.name in CALLS:
        return reason.id in [one.arg for one in scope.args.args]
    return ast.unparse(reason) in _PASSED_ON


def _assigned(scope: ast.AST) -> dict[str, ast.expr]:
    """Return what the names of a scope are set to, for names that are set once."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _pattern(reason: ast.expr, known: dict[str, ast.expr]) -> str:
    if isinstance(reason, ast.Name):
        if reason.id == "CONTROL":  # a constant of another module
            return re.escape(CONTROL)
        reason = known.get(reason.id, reason)
    if isinstance(reason, ast.Constant):
        return re.escape(str(reason.value))
    if isinstance(reason, ast.JoinedStr):
        return "".join(
            [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in reason.values]
        )
    return ""
