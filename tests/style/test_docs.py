"""The examples in README and docs: configs load and compile, commands are understood, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from npserver.cli import COMMANDS
from npserver.cli.arguments import parse_arguments
from npserver.cli.overrides import from_arguments
from npserver.config.files import ConfigFiles
from npserver.config.load import load_text
from npserver.errors import ConfigError, Severity
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_HEADING_LINK = re.compile(r"\]\(([^)#\s:]*)#([^)\s]+)\)")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

#: What an example cannot have here: the files and users of a real machine.
_OF_THE_MACHINE = re.compile(
    r"cannot read|no such|no directory|does not exist|not a directory|not found|no permission|unknown (user|group)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Example:
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def examples(*kinds: str) -> Iterator[Example]:
    """All blocks of these kinds."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match[1] in kinds:
                yield Example(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every npserver command line in a shell block, with where it stands."""
    for example in examples("sh", "console", "bash"):
        for number, line in enumerate(example.text.replace("\\\n", "  ").splitlines()):
            for part in re.split(r"\|\||&&|[|;>]", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                if words and words[0] in ("npserver", "./npserver", "sudo"):
                    yield f"{example.page.name}:{example.line + number}", words[1 + words[:2].count("sudo") :]
                if not words:
                    break  # the rest is a comment


def headings(page: Path) -> set[str]:
    """The names that links to the headings of a page have."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    names = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", name).lower() for name in _HEADING.findall(text)]
    return {re.sub(r"[^\w -]", "", name).replace(" ", "-") for name in names}


#: The configs of docs/extending.md need its packages: tests/e2e/test_extending.py installs and serves them.
CONFIGS = [example for example in examples("json", "jsonc") if example.page.name != "extending.md"]
COMMAND_LINES = list(commands())


class FilesOfAMachine(ConfigFiles):
    """Files that are not here."""

    def find(self, pattern: str) -> list[str]:
        return []

    def value(self, file: str) -> str:
        return f"what-{Path(file).name}-has"

    def text(self, file: str, max_bytes: int) -> str:
        return "{}"


def test_there_are_examples() -> None:
    assert len(CONFIGS) >= 6
    assert len(COMMAND_LINES) >= 10


@pytest.mark.parametrize("example", CONFIGS, ids=str)
def test_configs_load_and_compile(example: Example) -> None:
    document = load_text(example.text, str(example), files=FilesOfAMachine())
    if not document.config.listen:  # a fragment
        document = from_arguments([("http://:8080", [])], base=document)
    try:
        dry_run(document, Directory())
    except ConfigError as error:
        unexpected = [
            str(problem)
            for problem in error.problems
            if problem.severity is not Severity.WARNING and not _OF_THE_MACHINE.search(problem.message)
        ]
        assert unexpected == []


@pytest.mark.parametrize(("place", "words"), COMMAND_LINES, ids=[place for place, _ in COMMAND_LINES])
def test_commands_are_understood(place: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words and words[0] in COMMANDS:
        assert import_module(COMMANDS[words[0]]).main(["-help"]) == 0
        usage = capsys.readouterr().out
        assert all(word in usage for word in words[1:] if word.startswith("-"))
    else:
        parse_arguments(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page: Path) -> None:
    found = _HEADING_LINK.findall(page.read_text(encoding="utf-8"))
    links = [(page.parent / file if file else page, at) for file, at in found]
    assert [f"{file.name}#{at}" for file, at in links if at not in headings(file)] == []


def test_all_commands_for_a_running_server_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    running = set()
    for name, module in COMMANDS.items():
        import_module(module).main(["-help"])
        if "-config FILE" in capsys.readouterr().out and name not in ("check", "explain", "cert"):  # ask no server
            running.add(name)
    assert {"status", "upgrade", "purge"} <= running
    table = re.findall(r"^\| .*", (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert running - set(re.findall(r"`([a-z]+)[ `]", "".join(row.split(" | ")[0] for row in table))) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_named_exist(page: Path) -> None:
    named = re.findall(r"`([\w./]+/[\w.]+\.py)`", page.read_text(encoding="utf-8"))
    places = (
        ROOT,
        ROOT / "src" / "npserver",
        ROOT / "tests",
        ROOT / "tests" / "conformance",
        ROOT / "tests" / "protocols",
    )
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_python_examples_compile() -> None:
    for example in examples("python"):
        compile(example.text, str(example), "exec")


def test_our_words_for_those_of_others_exist() -> None:
    """The third column of the table names keys, handlers, values and commands."""
    text = (ROOT / "docs" / "coming-from-nginx-or-caddy.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[2] for line in text.splitlines() if line.startswith("| ") and line.count(" | ") == 2]
    words = {word for row in rows for word in re.findall(r"`([a-z_-]+)`", row)}
    reference = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(\w+)`", reference, re.MULTILINE)) | set(re.findall(r'`"([\w-]+)"`', reference))
    known |= {match.lower() for match in re.findall(r"^## Handler (\w+)", reference, re.MULTILINE)}
    others = {"alias", "handle_path"}  # named for comparison
    assert len(words) > 50
    assert words - known - others == set()
