"""Fixtures of the tests of `explain`.

document    the config of `tests/stage/explained.py`, which is not changed
directory   where its files are
ask         a function: a question to its explanation
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from npserver.config.document import Document
from npserver.config.load import load_text
from npserver.explain.explanation import Explanation
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining
from tests.stage.explained import write_files


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """Where the files of the config are."""
    return write_files(tmp_path_factory.mktemp("explained"), authority).parent


@pytest.fixture(scope="session")
def document(directory: Path) -> Document:
    """The config."""
    file = directory / "config.json"
    return load_text(file.read_text(), str(file))


@pytest.fixture
def ask(document: Document) -> Iterator[Callable[..., Explanation]]:
    """A function that explains a question about the config."""
    with explaining(document) as explainer:
        yield lambda question, **options: explainer.explain(parse_question(question, **options))
