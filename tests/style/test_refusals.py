"""Every refusal of a request says why, and names what decided: a config key, the rule, or a section of the standard."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stage.refusals import SOURCE, Site, modules, sites

#: Where error pages are made: by `Exchange.fail`, and for requests without an exchange. Both log.
MAKERS_OF_PAGES = {"web/server/exchange_base.py", "web/server/refusals.py"}
SENDERS = {"respond", "start", "send_file"}


def faults(site: Site) -> Iterator[str]:
    """Yield what is missing at a refusal."""
    if site.reason is None or ast.unparse(site.reason) in ("''", "f''"):
        yield f"{site.place}: no reason"
    elif not site.pattern and not site.is_passed_on:
        yield f"{site.place}: the reason {ast.unparse(site.reason)} cannot be told from the source: write it there"
    name = ast.unparse(site.call.func).rpartition(".")[2]
    if name in ("BadRequest", "_error") and not site.authority:
        yield f"{site.place}: neither a config key nor an rfc"


def unlogged_answers(path: Path) -> Iterator[str]:
    """Yield the calls that answer with an error past `Exchange.fail`, or make an error page elsewhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        place = f"{path.relative_to(SOURCE) if path.is_relative_to(SOURCE) else path.name}:{node.lineno}"
        status = node.args[0] if node.args else None
        if node.func.attr in SENDERS and isinstance(status, ast.Constant) and status.value >= 400:
            yield f"{place}: a refusal goes through fail()"
        if ast.unparse(node.func) == "error_pages.render" and place.partition(":")[0] not in MAKERS_OF_PAGES:
            yield f"{place}: an error page is made where nothing is logged"


def test_a_refusal_says_why_and_what_decided() -> None:
    found = {
        str(path.relative_to(SOURCE)): [
            *[fault for site in sites(path) for fault in faults(site)],
            *unlogged_answers(path),
        ]
        for path in modules()
    }
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_refusals_are_found() -> None:
    assert sum(1 for path in modules() for _ in sites(path)) > 60


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("exchange.fail(404)", ["no reason"]),
        ("exchange.fail(404, '')", ["no reason"]),
        ("exchange.fail(404, fields=b'x')", ["no reason"]),
        ("exchange.fail(404, told)", ["the reason told cannot be told from the source: write it there"]),
        ("raise BadRequest('bad')", ["neither a config key nor an rfc"]),
        ("raise BadRequest('bad', 413, '')", ["neither a config key nor an rfc"]),
        ("raise self._error('bad')", ["neither a config key nor an rfc"]),
        ("Refusal(403, '', key)", ["no reason"]),
        ("exchange.respond(404, b'', b'')", ["a refusal goes through fail()"]),
        ("error_pages.render(404, b'', '')", ["an error page is made where nothing is logged"]),
        ("self._break_off(500, told)", ["the reason told cannot be told from the source: write it there"]),
        ("waiter.give_up(told, key)", ["the reason told cannot be told from the source: write it there"]),
        ("exchange.fail(404, 'bad')", []),
        ("exchange.fail(404, str(error), error.key)", []),
        ("raise BadRequest('bad', rfc='RFC 9110')", []),
        ("raise BadRequest('bad', 413, 'limits.max_body_size')", []),
        ("exchange.respond(200, b'', b'')", []),
    ],
)
def test_each_way_would_be_found(tmp_path: Path, call: str, expected: list[str]) -> None:
    module = tmp_path / "module.py"
    module.write_text(f"def handle():\n    {call}\n")
    found = [*[fault for site in sites(module) for fault in faults(site)], *unlogged_answers(module)]
    assert found == [f"module.py:2: {one}" for one in expected]
