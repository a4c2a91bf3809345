"""`npserver schema`."""

from __future__ import annotations

import json

import pytest

from npserver.cli import schema


def test_the_json_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([]) == 0
    assert "dispatch" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize("word", ["-markdown", "--markdown"])
def test_the_reference_is_printed(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([word]) == 0
    assert "| `dispatch` |" in capsys.readouterr().out


def test_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["-help"]) == 0
    assert schema.main(["x"]) == 2
    said = capsys.readouterr()
    assert said.out == said.err == schema.USAGE
