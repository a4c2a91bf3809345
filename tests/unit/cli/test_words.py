"""The words after a command. What each command does with them: its own tests."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.cli.arguments import UsageError
from npserver.cli.words import Words, run_command

HELP = "usage: npserver try\n"


def read(*words: str, **known: Any) -> Words:
    found: list[Words] = []

    def run(one: Words) -> int:
        found.append(one)
        return 7

    assert run_command("try", HELP, list(words), run, **known) == 7
    return found[0]


def test_options_and_other_words_in_any_order() -> None:
    one = read("a", "-all", "-config", "x.json", "b", "--wait", "-5", flags=["all"], values=["wait"])
    assert one.rest == ["a", "b"]
    assert one.options == {"all": "", "config": "x.json", "wait": "-5"}
    assert one.config == "x.json"


def test_the_config_is_that_of_the_working_directory_by_default() -> None:
    assert read().config == "config.json"
    assert read("-config", "a", "-config", "b").config == "b"


@pytest.mark.parametrize("word", ["-help", "--help", "-h"])
def test_help_runs_nothing(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("try", HELP, [word], lambda _: 7) == 0
    assert capsys.readouterr().out == HELP


@pytest.mark.parametrize(
    ("words", "known", "message"),
    [
        (["-all"], {}, "unknown option '-all'"),
        (["---config", "a"], {}, "unknown option '---config'"),
        (["-"], {}, "unknown option '-'"),
        (["-config"], {}, "-config expects a value"),
        (["-config", ""], {}, "-config expects a value"),
        (["-wait"], {"values": ["wait"]}, "-wait expects a value"),
        (["a"], {"takes_words": False}, "unexpected 'a': the config is named by -config FILE"),
    ],
)
def test_what_is_not_known_is_refused_with_the_help(
    words: list[str], known: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("try", HELP, words, lambda _: 7, **known) == 2
    assert capsys.readouterr().err == f"npserver try: {message}\n\n{HELP}"


def test_commands_refuse_their_words_alike(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Words) -> int:
        raise UsageError("expected one")

    assert run_command("try", HELP, [], refuse) == 2
    assert capsys.readouterr().err == f"npserver try: expected one\n\n{HELP}"
