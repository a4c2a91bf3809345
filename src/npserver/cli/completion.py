"""`npserver completion bash|zsh|fish`: print a script that completes commands, options and the files that they take.

It is made from the help of the program and of each command: what that lists is completed, and nothing else is. Pressing
Tab runs no Python.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from importlib import import_module

from msgspec import Struct

from npserver.errors import clip

HELP = """\
usage: npserver completion bash|zsh|fish

Print a script for the shell that completes commands, options and the files that they take:

  bash   npserver completion bash > ~/.local/share/bash-completion/completions/npserver
  zsh    npserver completion zsh > DIR/_npserver, with a directory of $fpath
  fish   npserver completion fish > ~/.config/fish/completions/npserver.fish
"""
#: What an option's value is called in a help, and what it is.
_KINDS = {"FILE": "files", "DIR": "directories", "SOCKET": "files"}
_OPTION = re.compile(r"(?<![\w/'\"-])-(\w[\w-]*)(?:[ =]([A-Z]+\b|'[^']*'))?")
_DESCRIBED = re.compile(r"^  (-\S.*?)(?:  +(\S.*))?$")


class Option(Struct, frozen=True):
    """An option without its dashes. `value`: what follows it, "files", "directories", "other" or "" for nothing."""

    name: str
    value: str
    description: str


class Command(Struct, frozen=True):
    """A command, or the server for the name ""."""

    name: str
    description: str
    options: list[Option]
    words: list[str] = []  # such as `ds` and `roll` of `npserver dns`
    takes_files: bool = False


def main(words: list[str]) -> int:
    """Print the script. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if len(words) != 1 or words[0] not in _SCRIPTS:
        given = f"unknown shell {clip(' '.join(words))}" if words else "a shell is missing"
        print(f"npserver completion: {given}: expected bash, zsh or fish\n\n{HELP}", end="", file=sys.stderr)
        return 2
    print("\n".join(_SCRIPTS[words[0]](commands())))
    return 0


# ── what there is to complete ──


def commands() -> list[Command]:
    """Return the server and all commands, from their help."""
    from npserver.cli import COMMANDS
    from npserver.cli.arguments import HELP as OF_ALL

    _, _, options = OF_ALL.partition("\noptions:\n")
    options, _, listed = options.partition("\ncommands:\n")
    found = [Command("", "serve", _options(options))]
    for name, module in COMMANDS.items():
        line = re.search(rf"(?m)^  {name}\b(?: \S+)*?  +(\S.*)$", listed)
        text = _help_of(module)
        usage = re.findall(r"(?m)^(?:usage:| {6}) npserver (.*)", text)
        literal = [re.match(rf"{name} ((?:[a-z]+\|)*[a-z]+)(?=\s|$)", one) for one in usage]
        found.append(
            Command(
                name,
                line[1] if line else "",
                _options(text),
                [word for one in literal if one for word in one[1].split("|")],
                any(re.search(r"\bFILE\b", _OPTION.sub("", one)) for one in usage),
            )
        )
    return found


def _help_of(module: str) -> str:
    with redirect_stdout(io.StringIO()) as out:
        import_module(module).main(["-help"])
    return out.getvalue()


def _options(text: str) -> list[Option]:
    """Return the options that a help names, in the order of their names."""
    values: dict[str, str] = {"help": ""}
    descriptions = {"help": "print the help"}
    for line in text.splitlines():
        described = _DESCRIBED.match(line)
        for name, value in _OPTION.findall(line):
            values[name] = values.get(name) or (_KINDS.get(value, "other") if value else "")
        if described and described[2]:
            for name, _ in _OPTION.findall(described[1]):
                descriptions.setdefault(name, described[2].rstrip(",;:"))
    return [Option(name, value, descriptions.get(name, "")) for name, value in sorted(values.items())]


# ── the scripts ──


def _quote(text: str) -> str:
    """Return a word for bash and zsh that means `text`."""
    return "'" + text.replace("'", "'\\''") + "'"


def _bash(found: Iterable[Command]) -> Iterator[str]:
    server, *rest = found
    names = [one.name for one in rest]
    yield "# bash completion of npserver, made by `npserver completion bash`"
    yield "_npserver() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local dash=- command= options= words= kind="
    yield "    COMPREPLY=()"
    yield "    if [[ $word == = ]]; then"
    yield "        word="
    yield "    elif [[ $before == = ]]; then"
    yield "        before=${COMP_WORDS[COMP_CWORD-2]}"
    yield "    fi"
    yield "    [[ $before == --?* ]] && before=${before#-}"
    yield "    [[ $word == --* ]] && dash=--"
    yield "    if ((COMP_CWORD > 1)); then"
    yield f"        case ${{COMP_WORDS[1]}} in {'|'.join(names)}) command=${{COMP_WORDS[1]}} ;; esac"
    yield "    fi"
    yield "    case $command in"
    for one in (*rest, server):
        yield f"        {one.name or '*'})"
        yield f"            options={_quote(' '.join(option.name for option in one.options))}"
        if long := [option.name for option in one.options if len(option.name) > 1]:
            yield f"            [[ $dash == -- ]] && options={_quote(' '.join(long))}"
        if one is server:
            yield f"            ((COMP_CWORD == 1)) && words={_quote(' '.join(['help', *names]))}"
        elif one.words:
            yield f"            ((COMP_CWORD == 2)) && words={_quote(' '.join(one.words))}"
        if one.takes_files:
            yield "            kind=files"
        yield "            case $before in"
        for kind in ("files", "directories", "other"):
            if of_kind := [f"-{option.name}" for option in one.options if option.value == kind]:
                yield f"                {'|'.join(of_kind)}) kind={kind} options= words= ;;"
        yield "            esac"
        yield "            ;;"
    yield "    esac"
    yield "    local IFS=$'\\n'"
    yield "    case $kind in"
    yield '        files) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")) ;;'
    yield '        directories) compopt -o filenames; COMPREPLY=($(compgen -d -- "$word")) ;;'
    yield "    esac"
    yield "    IFS=' '"
    yield "    if [[ $word == -* && -n $options ]]; then"
    yield '        options=" $options"'
    yield '        COMPREPLY+=($(compgen -W "${options// / $dash}" -- "$word"))'
    yield "    elif [[ -n $words ]]; then"
    yield '        COMPREPLY+=($(compgen -W "$words" -- "$word"))'
    yield "    fi"
    yield "}"
    yield "complete -F _npserver npserver ./npserver"


def _zsh(found: Iterable[Command]) -> Iterator[str]:
    server, *rest = found
    actions = {"files": ":file:_files", "directories": ":directory:_files -/", "other": ":value: ", "": ""}

    def arguments(one: Command) -> Iterator[str]:
        for option in one.options:
            text = re.sub(r"([\[\]:\\])", r"\\\1", option.description)
            yield _quote(f"*-{option.name}[{text}]{actions[option.value]}")
        if one.words:
            yield _quote(f"1:word:({' '.join(one.words)})")
        yield _quote("*:file:_files" if one.takes_files else '*: :_guard "[^-]#" argument')

    yield "#compdef npserver"
    yield "# zsh completion of npserver, made by `npserver completion zsh`"
    yield "_npserver() {"
    yield "    local -a commands"
    yield "    commands=("
    for one in rest:
        yield f"        {_quote(f'{one.name}:{one.description}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then"
    yield "        _describe -t commands command commands"
    yield "        return"
    yield "    fi"
    yield "    case $words[2] in"
    for one in (*rest, server):
        yield f"        {one.name or '*'})"
        if one.name:
            yield "            shift words; (( CURRENT-- ))"
        yield "            _arguments \\"
        yield " \\\n".join(f"                {word}" for word in arguments(one))
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _npserver "$@"; else compdef _npserver npserver; fi'


def _fish(found: Iterable[Command]) -> Iterator[str]:
    server, *rest = found
    values = {"files": "-r -F", "directories": "-x -a '(__fish_complete_directories)'", "other": "-x", "": ""}
    names = " ".join(one.name for one in rest)

    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    yield "# fish completion of npserver, made by `npserver completion fish`"
    yield "complete -c npserver -f"
    for one in rest:
        yield f"complete -c npserver -n __fish_use_subcommand -a {one.name} -d {quote(one.description)}"
    for one in (*rest, server):
        seen = f"__fish_seen_subcommand_from {one.name or names}"
        when = quote(seen if one.name else f"not {seen}")
        for option in one.options:
            long = f"-l {option.name} " if len(option.name) > 1 else ""
            words = f"-o {option.name} {long}{values[option.value]}".rstrip()
            yield f"complete -c npserver -n {when} {words} -d {quote(option.description)}"
        if one.words:
            not_yet = f"{seen}; and not __fish_seen_subcommand_from {' '.join(one.words)}"
            yield f"complete -c npserver -n {quote(not_yet)} -a {quote(' '.join(one.words))}"
        if one.takes_files:
            yield f"complete -c npserver -n {when} -F"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
