"""Configs as they are understood: written as one file, which loads to the same config, and without secrets.

Covers `config.written` and `cli.check`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from npserver.cli import check
from npserver.config.files import ConfigFiles
from npserver.config.load import load_text
from npserver.config.section import Section
from npserver.config.shape import section_keys
from npserver.config.written import HIDDEN, write_config
from tests.stage.program import ROOT
from tests.stage.secrets import leaks, secret_places

SECRET = "c2VjcmV0LW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudA"
PLACES = dict(secret_places(SECRET))
_BLOCK = re.compile(r"^```jsonc?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONFIGS = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.json"))} | {
    f"{page.name}:{number}": text
    for page in sorted((ROOT / "docs").glob("*.md"))
    if page.name != "extending.md"  # its packages are not installed here
    for number, text in enumerate(_BLOCK.findall(page.read_text()))
}


class Files(ConfigFiles):
    """The files that the examples name."""

    def value(self, file: str) -> str:
        return f"what-{Path(file).name}-has"

    def find(self, pattern: str) -> list[str]:
        return []

    def text(self, file: str, max_bytes: int) -> str:
        return '{"networks": {"of-another-file": ["10.0.0.0/8"]}}'


def understood(value: Any, *, has_secrets: bool) -> Any:
    """Return what a config loads to, with the values of its texts: as templates have them, if those are expanded.

    Without the names of the sets that rules have keys from, and without secrets unless `has_secrets`.
    """
    if isinstance(value, str):
        return getattr(value, "template", str(value))
    if isinstance(value, (list, dict)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: understood(one, has_secrets=has_secrets) for name, one in pairs}
    if not isinstance(value, Section):
        return value
    hidden = {
        "use",
        *(() if has_secrets else [key.attribute for key in section_keys(type(value)).values() if key.is_secret]),
    }
    names = [name for name in value.__struct_fields__ if name not in hidden]
    return type(value), {name: understood(getattr(value, name), has_secrets=has_secrets) for name in names}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_written_loads_to_the_same_config(name: str) -> None:
    document = load_text(CONFIGS[name], name, files=Files())
    text = write_config(CONFIGS[name], name, Files())
    again = load_text(text, name, files=Files())
    has_secrets = HIDDEN not in text
    expected = understood(document.config, has_secrets=has_secrets)
    assert understood(again.config, has_secrets=has_secrets) == expected
    assert write_config(text, name, Files()) == text
    assert "include" not in json.loads(text)


@pytest.mark.parametrize("name", PLACES)
def test_secrets_are_not_written(name: str) -> None:
    text = json.dumps(PLACES[name])
    written = write_config(text, "c.json", ConfigFiles())
    assert HIDDEN in written
    assert leaks([SECRET.encode()], written) == []


@pytest.mark.parametrize("name", PLACES)
def test_secrets_of_variables_and_files_are_written_as_references(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("N_X", SECRET)
    (tmp_path / "x").write_text(SECRET)
    for reference in ("${N_X}", f"${{file:{tmp_path}/x}}"):
        text = json.dumps(PLACES[name]).replace(SECRET, f"a {reference}")
        written = write_config(text, "c.json", ConfigFiles())
        assert f"a {reference}" in written
        assert leaks([SECRET.encode()], written) == []


def test_values_are_written_where_they_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "N_HOST": "10.0.0.5",
        "N_TWO": "2",
        "N_YES": "true",
        "N_API_KEY": SECRET,
        "N_DOLLAR": "a$b",
        "N_SIZE": "1m",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    config: dict[str, Any] = {
        "workers": "${N_TWO}",
        "gzip": "${N_YES}",
        "server_header": "${N_TWO}",
        "limits": {"max_body_size": "${N_SIZE}"},
        "defaults": {"a": {"allow": ["${N_HOST}"], "max_body_size": "${N_SIZE}"}},
        "dispatch": [
            {
                "handler": "proxy", "use": ["a"], "proxy_pass": "http://${N_HOST}:80", "host": "${N_API_KEY}",
                "headers": {"X-A": "${N_HOST}"},
            },
            {"handler": "respond", "path": "/x", "body": "${N_DOLLAR} $host $${N_TWO} $$"},
            {"handler": "respond", "path": "/y", "body": "${N_HOST} $host $${N_TWO} $$"},
        ],
    }  # fmt: skip
    text = json.dumps(config)
    written = json.loads(write_config(text, "c.json", ConfigFiles()))
    assert written == {
        "workers": 2,
        "gzip": True,
        "server_header": "2",
        "limits": {"max_body_size": "1m"},
        "dispatch": [
            {
                "allow": ["10.0.0.5"], "max_body_size": "1m", "handler": "proxy", "proxy_pass": "http://10.0.0.5:80",
                "host": "${N_API_KEY}", "headers": {"X-A": "${N_HOST}"},
            },
            {"handler": "respond", "path": "/x", "body": "${N_DOLLAR} $host $${N_TWO} $$"},
            {"handler": "respond", "path": "/y", "body": "10.0.0.5 $host $${N_TWO} $$"},
        ],
    }  # fmt: skip
    again = load_text(json.dumps(written), "c.json").config
    expected = understood(load_text(text, "c.json").config, has_secrets=True)
    assert understood(again, has_secrets=True) == expected


class TestCommand:
    def test_it_prints_one_config_of_all_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "config.json").write_text(
            '{"listen": ["http://127.0.0.1:0"], "include": "a.json", "store": "x"} // c'
        )
        (tmp_path / "a.json").write_text('{"dispatch": [{"handler": "respond", "body": "\\u00e4"}]}')
        assert check.main(["-print"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == {
            "listen": ["http://127.0.0.1:0"], "store": "x", "dispatch": [{"handler": "respond", "body": "ä"}]
        }  # fmt: skip
        assert "'store' is not used" in err
        assert check.main(["-config", "config.json", "--print"]) == 0
        assert capsys.readouterr().out == out

    def test_a_config_with_errors_is_not_printed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "c.json"
        file.write_text('{"listen": ["http://127.0.0.1:0"], "workers": "x"}')
        assert check.main(["-print", os.fspath(file)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "'workers': expected a whole number" in err
