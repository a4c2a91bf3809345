"""Completion in the real shells: what they offer at a Tab."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from npserver.cli import COMMANDS
from npserver.cli.arguments import _FLAGS, _VALUES
from npserver.cli.completion import HELP, commands, main
from tests.stage.programs import find, needs, needs_terminals

Offer = Callable[[str], set[str]]


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Path]:
    """Return `script(shell)`: what the command prints, in a file; there are files to complete beside it."""
    for name in ("site.json", "my site.json", "key.pem"):
        (tmp_path / name).touch()
    (tmp_path / "public").mkdir()

    def write(shell: str) -> Path:
        assert main([shell]) == 0
        file = tmp_path / f".{shell}"
        file.write_text(capsys.readouterr().out)
        return file

    return write


def in_bash(script: Path) -> Offer:
    """Ask the function that bash calls; the words as bash splits them, at `=` too."""

    def offer(line: str) -> set[str]:
        words = line.replace("=", " = ").split(" ")
        code = (
            f'compopt() {{ :; }}; source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            "_npserver; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", *words], cwd=script.parent, capture_output=True, text=True,
            timeout=30, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return set(done.stdout.split("\n")) - {""}

    return offer


def in_fish(script: Path) -> Offer:
    def offer(line: str) -> set[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(script), line],
            cwd=script.parent, env={**os.environ, "HOME": str(script.parent)}, capture_output=True, text=True,
            timeout=30, check=True,
        )  # fmt: skip
        return {one.partition("\t")[0].rstrip("/") for one in done.stdout.splitlines()}

    return offer


SHELLS = pytest.mark.parametrize(
    ("shell", "ask"), [("bash", in_bash), pytest.param("fish", in_fish, marks=needs("fish"))]
)


@SHELLS
def test_commands_options_and_files_are_offered(
    script: Callable[[str], Path], shell: str, ask: Callable[[Path], Offer]
) -> None:
    offer = ask(script(shell))
    assert offer("npserver ch") == {"check"}
    assert set(COMMANDS) <= offer("npserver ")
    assert offer("npserver check -c") >= {"-config"}
    assert offer("npserver check -w") == set()
    assert {"-workers", "-watch"} <= offer("npserver http://:8080 -w")
    assert {"-prefix", "-config"} <= offer("npserver purge -")
    assert "-root" not in offer("npserver purge -")
    assert offer("npserver http://:8080 --wat") == {"--watch"}
    assert not {"--c", "--L"} & offer("npserver http://:8080 --")
    assert {"ds", "roll", "flush"} <= offer("npserver dns ")
    assert offer("npserver completion z") == {"zsh"}
    for line in ("npserver -config s", "npserver check --config s", "npserver http://:80 -watch -config s"):
        assert offer(line) == {"site.json"}, line
    assert offer("npserver http://:80 -root p") == {"public"}
    assert not {"site.json", "key.pem"} & offer("npserver -root ")
    assert not {"site.json", "check"} & offer("npserver -workers ")
    assert "check" not in offer("npserver http://:80 c")


def test_bash_offers_names_with_blanks_and_values_after_an_equals_sign(script: Callable[[str], Path]) -> None:
    offer = in_bash(script("bash"))
    assert {"my site.json", "site.json"} <= offer("npserver -config ")
    assert offer("npserver check -config=si") == {"site.json"}
    assert offer("npserver -root=") >= {"public"}


def at_a_terminal(command: list[str], directory: Path, *steps: tuple[str, str]) -> None:
    """Type each step's first text, and wait for the second one to appear."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "dumb", "PS1": "> "}
        os.execvpe(command[0], command, environment)
    seen = ""
    try:
        for typed, expected in steps:
            os.write(terminal, typed.encode())
            seen, until = "", time.monotonic() + 30
            while expected not in seen:
                assert time.monotonic() < until, f"no {expected!r} after {typed!r}: {seen!r}"
                if select.select([terminal], [], [], 0.1)[0]:
                    seen += os.read(terminal, 65_536).decode(errors="replace")
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@needs("zsh")
@needs_terminals
def test_zsh_completes_as_one_types(script: Callable[[str], Path]) -> None:
    file = script("zsh")
    at_a_terminal(
        [str(find("zsh")), "-f", "-i"], file.parent,
        (f"autoload -Uz compinit; compinit -u -D; source {file}; echo rea''dy\n", "ready"),
        ("npserver chec\t", "check "),
        ("-conf\t", "-config "),
        ("sit\t", "site.json "),
        ("\x15npserver dns fl\t", "flush "),
        ("\x15npserver http://:80 -roo\tpub\t", "public/"),
        ("\x15npserver http://:80 -pidf\t", "-pidfile "),
        ("\x15npserver completion fi\t", "fish "),
    )  # fmt: skip


@needs_terminals
def test_bash_completes_as_one_types(script: Callable[[str], Path]) -> None:
    file = script("bash")
    at_a_terminal(
        ["bash", "--norc", "-i"], file.parent,
        (f"source {file}; echo rea''dy\n", "ready"),
        ("npserver chec\t", "check "),
        ("-conf\t", "-config "),
        ("my\t", "my\\ site.json "),
        ("\x15npserver http://:80 -roo\tpub\t", "public/"),
    )  # fmt: skip


def test_all_options_are_known_with_a_description() -> None:
    """What the server parses, and what each command's help lists."""
    found = {one.name: one for one in commands()}
    assert found.keys() == {"", *COMMANDS}
    server = {option.name: option for option in found[""].options}
    assert server.keys() == {*_FLAGS, *_VALUES}
    assert {name for name, option in server.items() if option.value} == set(_VALUES)
    assert all(option.description for option in server.values())
    assert server["config"].value == server["cert"].value == server["key"].value == "files"
    assert server["root"].value == "directories"
    assert all(one.description for name, one in found.items() if name not in ("ban", "unban"))
    assert {option.name for option in found["cert"].options} == {"ca", "out", "root", "config", "store", "help"}
    assert found["dns"].words == ["ds", "roll", "flush"]


@pytest.mark.parametrize("words", [[], ["csh"], ["bash", "zsh"]])
def test_wrong_usage_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "expected bash, zsh or fish" in error
    assert HELP in error
    assert main(["-help"]) == 0
    assert capsys.readouterr().out == HELP
