"""Values of variables and files in the texts of a config: put in once, never shown, and taken as they are.

Covers `config.expand` with `config.load` and `config.decode`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from npserver.config.expand import Expanded, Expander, ExpansionError, is_secret, template_of
from npserver.config.files import ConfigFiles
from npserver.config.load import load, load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from npserver.web.config import HttpRule

VARIABLES = {"HOST": "10.0.0.5", "EMPTY": "", "MONEY": "a$host$$b", "AGAIN": "${HOST}", "lower": "low", "_X1": "under"}


def expand(text: str) -> str:
    return Expander(ConfigFiles(), VARIABLES).text(text, ".")


@pytest.mark.parametrize(
    ("text", "value", "template"),
    [
        ("http://${HOST}:80/", "http://10.0.0.5:80/", "http://10.0.0.5:80/"),
        ("${HOST}${HOST}", "10.0.0.510.0.0.5", "10.0.0.510.0.0.5"),
        ("${HOST:-other}", "10.0.0.5", "10.0.0.5"),
        ("${NONE:-other}", "other", "other"),
        ("${EMPTY:-other}", "other", "other"),
        ("${EMPTY}", "", ""),
        ("${NONE:-}", "", ""),
        ("${NONE:-a:-b$c}", "a:-b$c", "a:-b$$c"),
        ("${AGAIN}", "${HOST}", "$${HOST}"),
        ("${MONEY}", "a$host$$b", "a$$host$$$$b"),
        ("${env:lower}", "low", "low"),
        ("${env:none:-x}", "x", "x"),
        ("${_X1}", "under", "under"),
        ("$${HOST}", "${HOST}", "$${HOST}"),
        ("$$${HOST}", "$$10.0.0.5", "$$10.0.0.5"),
        ("$$${lower}$${HOST}", "$$${lower}${HOST}", "$$${lower}$${HOST}"),
    ],
)
def test_each_reference_is_replaced_by_its_value_once(text: str, value: str, template: str) -> None:
    found = expand(text)
    assert (found, template_of(found), repr(found)) == (value, template, repr(text))
    assert isinstance(found, Expanded)


@pytest.mark.parametrize(
    "text",
    ["$host", "${host}", "${header.x-y}", "${jwt.realm_access.roles}", "$$", "$$$", "$HOST", "{HOST}", "${}", "${1}",
     "${a b}", "${ HOST }", "$scrypt$ln=14$abc$def"],
)  # fmt: skip
def test_variables_of_requests_and_other_dollar_signs_stay_as_they_are(text: str) -> None:
    found = expand(text)
    assert found == template_of(found) == text
    assert type(found) is str


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${QQQ}", "the environment variable 'QQQ' is not set: set it before the start, or write ${QQQ:-default}"),
        ("${HOTS}", "'HOTS' is not set: did you mean 'HOST'?"),
        ("${env:none}", "'none' is not set: set it before the start, or write ${env:none:-default}"),
        ("x${HOST", "'${' without its '}'; write $${ for these characters themselves"),
        ("${file:/a", "'${' without its '}'"),
        ("${HOST-x}", "'${HOST-x}': expected ${NAME}, ${NAME:-default}, ${env:name} or ${file:/path}"),
        ("${HOST:=x}", "'${HOST:=x}': expected ${NAME}"),
        ("${lower:-x}", "'${lower:-x}': expected ${NAME}"),
        ("${env:}", "'${env:}': expected ${NAME}"),
        ("${File:/x}", "'${File:/x}': expected ${NAME}"),
        ("${file:}", "'${file:}' names no file"),
        ("${file:/none/x}", "cannot read '/none/x' of '${file:}': no such file or directory: name a file that"),
        ("${file:/}", "cannot read '/' of '${file:}': is a directory"),
        ("${file:/dev/null}", "'/dev/null' of '${file:}': not a regular file"),
    ],
)
def test_what_cannot_be_replaced_is_told_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "may_be"),
    [
        ("${file:/x}", True),
        ("${DB_PASSWORD}", True),
        ("${API_KEY:-x}", True),
        ("${HOST:-a-key}", False),
        ("${PORT}", False),
    ],
)
def test_secrets_are_known_by_their_source_and_name(reference: str, may_be: bool) -> None:
    assert is_secret(reference) is may_be


class TestInConfigs:
    @pytest.fixture(autouse=True)
    def _variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "N_PORT": "8080",
            "N_TWO": "2",
            "N_YES": "true",
            "N_HOST": "10.0.0.5",
            "N_WORD": "several",
        }.items():
            monkeypatch.setenv(name, value)

    @pytest.mark.parametrize(
        ("config", "name", "value"),
        [
            ({"workers": "${N_TWO}"}, "workers", 2),
            ({"dns_auto_ptr": "${N_YES}"}, "dns_auto_ptr", True),
            ({"gzip": "${N_YES}"}, "gzip", True),
            ({"server_header": "${N_YES}"}, "server_header", "true"),
            ({"root": "${N_TWO}"}, "root", "2"),
            ({"listen": ["http://${N_HOST}:${N_PORT}"]}, "listen", ["http://10.0.0.5:8080"]),
            ({"tls": "${N_NONE:-internal}"}, "tls", "internal"),
            ({"dns_alias_stale": "${N_TWO}m"}, "dns_alias_stale", 120.0),
        ],
    )
    def test_values_have_the_type_that_the_key_takes(self, config: dict[str, Any], name: str, value: Any) -> None:
        found = getattr(load_text(json.dumps(config), "c.json").config, name)
        assert found == value
        assert type(found) is type(value) or isinstance(found, (Expanded, float))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                '{\n "workers": "${N_WORD}"}',
                "c.json:2:13: 'workers': expected a whole number from 0 to 1024, got '${N_WORD}', whose value is ",
            ),
            ('{"dns_auto_ptr": "${N_TWO}"}', "c.json:1:18: 'dns_auto_ptr': expected true or false, got '${N_TWO}'"),
            ('{"workers": "${N_PORT}"}', "c.json:1:13: 'workers': expected a whole number from 0 to 1024, got 8080"),
            ('{"listen": [\n  "http://${N_NONE}:80"]}', "c.json:2:3: the environment variable 'N_NONE' is not set"),
            ('{"dns": {"a.home": {\n"A": ["${N_NONE}"]}}}', "c.json:2:7: the environment variable 'N_NONE' is not set"),
        ],
    )
    def test_a_value_that_is_missing_or_wrong_is_told_at_its_place(self, text: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load_text(text, "c.json")
        assert str(caught.value).startswith(message)
        assert len(caught.value.problems) == 1

    def test_a_text_without_secrets_and_dollar_signs_is_a_plain_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Encoders take no other; templates and messages need to know where the others come from."""
        monkeypatch.setenv("N_KEY", "x")
        monkeypatch.setenv("N_DOLLAR", "$x")
        texts = {"${N_HOST}": str, "${N_KEY}": Expanded, "${N_DOLLAR}": Expanded, "$${N_HOST}": Expanded, "x": str}
        config = {"dispatch": [{"handler": "respond", "name": one, "response_headers": {"X": one}} for one in texts]}
        rules = load_text(json.dumps(config), "c.json").config.dispatch
        assert [type(getattr(rule, "name", None)) for rule in rules] == [*texts.values()]
        header = [type(rule.response_headers["X"]) for rule in rules if isinstance(rule, HttpRule)]
        assert header == [Expanded] * 4 + [str]

    def test_escaped_references_are_references(self) -> None:
        text = r'{"root": "\u0024{N_TWO}", "user": "$\u007bN_TWO}"}'
        config = load_text(text, "c.json").config
        assert (config.root, config.user) == ("2", "2")

    def test_records_have_values_too(self) -> None:
        text = '{"dns": {"a.home": {"A": "${N_HOST}", "TTL": "${N_TWO}m"}}, "dispatch": [{"handler": "dns"}], "listen": ["udp://127.0.0.1:0"]}'
        dry_run(load_text(text, "c.json"), Directory())

    def test_messages_of_compilers_have_no_secret(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("http://joe:pa$$word-of-joe@host:80/\n")
        file = tmp_path / "c.json"
        proxy = {"handler": "proxy", "proxy_pass": "${file:secret}", "headers": {"X-A": "${file:secret} $nonsense"}}
        file.write_text(json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": [proxy]}))
        document = load(str(file))
        with pytest.raises(ConfigError) as caught:
            dry_run(document, Directory())
        for said in (str(caught.value), repr(document), repr(document.config)):
            assert "word" not in said.replace("password", "")
        assert "${file:secret}" in repr(document.config)

    def test_a_newline_at_the_end_of_a_file_is_dropped(self, tmp_path: Path) -> None:
        for content, value in ((b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), (b"", "")):
            (tmp_path / "value").write_bytes(content)
            (tmp_path / "c.json").write_text('{"server_header": "${file:value}"}')
            assert load(str(tmp_path / "c.json")).config.server_header == value

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"a" * 65537, "larger than 64 KiB: name another file"),
            (b"secret-\xff", "not UTF-8: a value is a text"),
            (b"secret-\0", "NUL in it: a value is a text"),
        ],
    )
    def test_a_file_that_is_no_value_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "value").write_bytes(content)
        (tmp_path / "c.json").write_text('{"server_header": "${file:value}"}')
        with pytest.raises(ConfigError) as caught:
            load(str(tmp_path / "c.json"))
        assert str(caught.value) == f"{tmp_path}/c.json:1:19: 'value' of '${{file:}}': {message}"

    async def test_values_in_texts_of_requests_have_no_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("N_TEXT", "$host ${method} $$ $nonsense")
        rule = {
            "handler": "respond", "body": "${N_TEXT} | $method $$ $${X}",
            "response_headers": {"X-A": "${N_TEXT} $method"},
        }  # fmt: skip
        plain = {"handler": "respond", "path": "/plain", "body": "${N_TEXT} | $$ $${X}"}
        async with npserver.serve(
            {"listen": ["http://127.0.0.1:0"], "dispatch": [rule, plain]}, shutdown_s=0
        ) as server:
            async with httpx.AsyncClient(base_url=server.url()) as client:
                answer = await client.get("/")
                assert answer.text == "$host ${method} $$ $nonsense | GET $ ${X}"
                assert answer.headers["x-a"] == "$host ${method} $$ $nonsense GET"
                assert (await client.get("/plain")).text == "$host ${method} $$ $nonsense | $ ${X}"
