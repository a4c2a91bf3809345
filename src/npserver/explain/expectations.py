"""Check the tests in a config: `expect`. Each is a question, and what should come of it."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from npserver.errors import Problem, Severity, clip
from npserver.explain.question import Kind, parse_question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.config.document import Document
    from npserver.config.report import Path
    from npserver.explain.config import Expectation
    from npserver.explain.engine import Explainer
    from npserver.explain.explanation import Explanation
    from npserver.explain.question import Question

WITHIN_S = 5.0  # for all of a config: a reload waits for them
_NOTHING = "expected 'to', 'gets', 'rule' or 'file': this test checks nothing"


def question_of(expectation: Expectation) -> Question:
    """Return the question of a test. Raises: ValueError with a message that begins with the key that is wrong."""
    return parse_question(
        expectation.ask,
        client=expectation.from_,
        method=expectation.method,
        headers=expectation.headers,
        sni=expectation.sni,
        listener=expectation.listener,
    )


def asks_names(document: Document) -> bool:
    """Return whether a test asks for a DNS name, for which block lists have to be read."""
    for one in document.config.expect:
        try:
            if question_of(one).kind is Kind.DNS:
                return True
        except ValueError:
            continue  # reported when it is checked
    return False


def check_expectations(document: Document, explainer: Explainer, within_s: float = WITHIN_S) -> list[Problem]:
    """Return a problem for each test that fails. After `within_s` seconds the rest is not tried, which is one too."""
    found: list[Problem] = []
    deadline = monotonic() + within_s
    for index, expectation in enumerate(document.config.expect):
        path: Path = ("expect", index)
        if monotonic() > deadline:
            left = len(document.config.expect) - index
            message = f"{left} tests are not tried: all together took longer than {within_s:g} s"
            found.append(_problem(document, path, message))
            break
        if all(value is None for value in (expectation.to, expectation.gets, expectation.rule, expectation.file)):
            found.append(_problem(document, path, _NOTHING))
            continue
        try:
            question = question_of(expectation)
        except ValueError as error:
            key, _, message = str(error).partition(": ")
            found.append(_problem(document, (*path, key), message))
            continue
        explanation = explainer.explain(question, is_brief=True)
        for key, wanted in unmet(document, expectation, explanation):
            found.append(_problem(document, (*path, key), _failure(question, explanation, key, wanted)))
    return found


def unmet(document: Document, expectation: Expectation, found: Explanation) -> Iterator[tuple[str, int | str]]:
    """Yield the keys of a test, each with its value, that do not hold for what has come of it."""
    if expectation.to is not None and (found.gets != "" or expectation.to.rstrip("/") not in _names(found)):
        yield "to", expectation.to
    if expectation.gets is not None and not _is_answered(expectation.gets, found):
        yield "gets", expectation.gets
    if expectation.rule is not None and (not found.rule or expectation.rule not in (found.rule, found.name)):
        yield "rule", expectation.rule
    if expectation.file is not None and not _is_file(document, expectation.file, found.file):
        yield "file", expectation.file


def _names(found: Explanation) -> set[str]:
    return {name.rstrip("/") for name in found.to}


def _is_answered(wanted: int | str, found: Explanation) -> bool:
    """Whether this is the answer: a status, a response code or a word, a redirect's URL, or the data of a record."""
    if isinstance(wanted, int):
        return found.gets == wanted
    if found.gets == "":
        return False
    answers = [str(found.gets), *found.data, *[one.rstrip(".") for one in found.data]]
    return wanted.lower() in [one.lower() for one in answers] or (wanted != "" and wanted == found.location)


def _is_file(document: Document, wanted: str, file: str) -> bool:
    return bool(file) and os.path.realpath(document.resolve(wanted)) == os.path.realpath(file)


def _failure(question: Question, found: Explanation, key: str, wanted: int | str) -> str:
    """Return what happens instead, in one line."""
    expected = {"to": "to be passed to ", "gets": "the answer ", "rule": "rule ", "file": "file "}[key]
    shown = wanted if isinstance(wanted, int) else clip(wanted)
    client = f" from {found.client}" if found.client else ""
    who = f"{clip(str(question))}{client}"
    if not found.listener:
        return f"{who}: expected {expected}{shown}, but {found.steps[-1].text}"
    if key == "rule":
        what = f"{found.rule or 'no rule'}{f' {clip(found.name)}' if found.name else ''} has it"
    else:
        what = f"it {found.result}" if not found.result.startswith("the ") else found.result
        if found.rule:
            what += f", by {found.rule}"
    refused = next((step.text for step in reversed(found.steps) if step.kind == "refused"), "")
    return f"{who}: expected {expected}{shown}, but {what}{f': {refused}' if refused else ''}"


def _problem(document: Document, path: Path, message: str) -> Problem:
    line, column = document.position(path)
    return Problem(document.hide(message), document.origin(path), line, column, Severity.CHECK_ERROR)
