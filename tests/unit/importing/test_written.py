"""The text of an imported config."""

from __future__ import annotations

from npserver.config.jsonc import parse
from npserver.importing.draft import Draft, DraftRule
from npserver.importing.written import write


def test_comments_have_one_line_and_are_said_once() -> None:
    draft = Draft(comments=["a\n}", "b"], rules=[DraftRule({"handler": "status"}, ["b", "c"])])
    text = write(draft, "nginx.conf")
    assert "  // a?}\n" in text
    assert text.count("// b") == 1
    assert parse(text).value["dispatch"] == [{"handler": "status"}]


def test_a_text_of_nginx_names_no_file_or_variable_of_ours() -> None:
    rule = DraftRule({"a": "${file:/etc/passwd}${HOME}${env:x}", "${B}": "$host ${host} ${header.x}"})
    value = parse(write(Draft(rules=[rule]), "x")).value["dispatch"][0]
    assert value == {"a": "$${file:/etc/passwd}$${HOME}$${env:x}", "$${B}": "$host ${host} ${header.x}"}
