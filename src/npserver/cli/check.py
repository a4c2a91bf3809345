"""`npserver check [-print] [-config FILE]`: report all errors and warnings in a config file, without serving it."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from npserver.cli.arguments import DEFAULT_CONFIG
from npserver.config.files import ConfigFiles, read_text
from npserver.errors import ConfigError, Problem, Severity
from npserver.process.reload_outcome import with_included

USAGE = """\
usage: npserver check [-print] [-config FILE]

Report all errors and warnings in a config file (default: config.json), each with its line and column. The tests in
"expect" are run too. With -print, a config without errors is printed as it is understood: included files, values of
variables and the keys of "use" are in it, its secrets are not.
The exit status is 0 if there are no errors, 2 if there are. Some errors keep no server from starting, which warns
of them: a certificate that has expired, a root of the local authority that is damaged.
"""
GOOD, BAD = 0, 2
_PRINT = ("-print", "--print")


def main(words: list[str]) -> int:
    """Check the config file named by `words`. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return GOOD
    prints = any(word in _PRINT for word in words)
    file = _file([word for word in words if word not in _PRINT])
    if file is None:
        print(USAGE, end="", file=sys.stderr)
        return BAD
    files = ConfigFiles()
    try:
        problems, served = check(file, files)
    except ConfigError as error:
        problems, served = error.problems, []
    for problem in problems:
        print(_as_error(problem), file=sys.stderr)
    warnings = sum(problem.severity is Severity.WARNING for problem in problems)
    errors = len(problems) - warnings
    if prints:
        if not errors:
            from npserver.config.written import write_config

            print(write_config(read_text(file), file, files))
        return BAD if errors else GOOD
    result = _count(errors, "error") if errors else "ok"
    also = f", {_count(warnings, 'warning')}" if warnings else ""
    print(f"{file}: {result}{also}{with_included(files.included)}")
    width = max([len(listener) for listener, _ in served], default=0)
    for listener, what in served:
        print(f"  {listener:<{width}}  {what}")
    return BAD if errors else GOOD


def check(file: str, files: ConfigFiles | None = None) -> tuple[list[Problem], list[tuple[str, str]]]:
    """Load and compile a config as the server does. Return the warnings, and each rule's listener and summary.

    Then come the names that rules publish. With TLS the last entries are about certificates that the start would make,
    and about the key exchange, which depends on the system's OpenSSL.

    `files` reads the files that the config includes. Raises: ConfigError, with all errors and warnings.
    """
    from npserver.config.load import in_order, load
    from npserver.process.dry_run import dry_run
    from npserver.process.explaining import failed_tests
    from npserver.program.services import has_tls_targets
    from npserver.runtime.scoreboard import Directory

    try:
        document = load(file, files)
    except ConfigError as error:
        found = error.problems + _errors_in_valid_part(error.valid_part)
        raise ConfigError(in_order(found, file)) from error
    runtime = dry_run(document, Directory())
    if failed := failed_tests(document):
        problems = sorted([*runtime.warnings, *failed], key=lambda problem: (problem.line, problem.column))
        raise ConfigError([_as_error(problem) for problem in problems])
    tests = len(document.config.expect)
    if any(problem.severity is Severity.CHECK_ERROR for problem in runtime.warnings):
        raise ConfigError([_as_error(problem) for problem in runtime.warnings])
    served = [*runtime.summary, *[("DNS", text) for text in document.compiled.get("publishes", ())]]
    if tests:
        served.append(("expect", f"{_count(tests, 'test')}, passed"))
    if has_tls_targets(document.config) or any(listener.server_tls is not None for listener in runtime.listeners):
        from npserver.tls.acme.service import AcmeService
        from npserver.tls.groups import describe_groups
        from npserver.tls.renewal import LocalRenewal

        for service in runtime.services:
            if isinstance(service, LocalRenewal | AcmeService):
                served += [("TLS", text) for text in service.describe()]
        served.append(("TLS", describe_groups()))
    return list(runtime.warnings), served


def _errors_in_valid_part(valid_part: object) -> list[Problem]:
    """Return the errors in the valid part of a faulty config. Its warnings are left out: the faults may cause them."""
    from npserver.config.document import Document
    from npserver.process.dry_run import dry_run
    from npserver.runtime.scoreboard import Directory

    if not isinstance(valid_part, Document):
        return []
    try:
        problems = dry_run(valid_part, Directory()).warnings
    except ConfigError as error:
        problems = tuple(error.problems)
    return [_as_error(problem) for problem in problems if problem.severity is not Severity.WARNING]


def _as_error(problem: Problem) -> Problem:
    """Return `problem` with the severity it has here: CHECK_ERROR, at start-up only a warning, is an error."""
    return replace(problem, severity=Severity.ERROR) if problem.severity is Severity.CHECK_ERROR else problem


def _file(words: list[str]) -> str | None:
    """Return the file named by the words; None if the usage is not valid."""
    match words:
        case []:
            return DEFAULT_CONFIG
        case ["-config" | "--config", file]:
            return file
        case [word] if word.startswith(("-config=", "--config=")):
            return word.partition("=")[2] or None
        case [file] if not file.startswith("-"):
            return file
    return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
