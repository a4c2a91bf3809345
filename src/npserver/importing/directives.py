"""The directives of nginx's config files, with those that they include.

Called by `importing.nginx`. crossplane reads each file by itself; includes are followed here, as it would follow a
file that includes itself for ever. Sizes, numbers and depth are bounded.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from npserver.errors import ConfigError, NpserverError, Problem, clip
from npserver.extras import needs

MAX_FILE_BYTES = 1 << 20  # nginx configs with thousands of servers have less
MAX_FILES = 1000
MAX_DIRECTIVES = 100_000
MAX_DEPTH = 32
REQUIREMENT = "crossplane>=0.5.8,<0.6"  # as in pyproject.toml, under `import`

#: Files of nginx's packages, which say what npserver does by itself; they are not read.
STANDARD_FILES = {
    "mime.types", "fastcgi_params", "fastcgi.conf", "fastcgi-php.conf", "uwsgi_params", "scgi_params", "proxy_params",
    "koi-win", "koi-utf", "win-utf",
}  # fmt: skip
PROXY_PARAMS = [
    ("proxy_set_header", ["Host", "$http_host"]),
    ("proxy_set_header", ["X-Real-IP", "$remote_addr"]),
    ("proxy_set_header", ["X-Forwarded-For", "$proxy_add_x_forwarded_for"]),
    ("proxy_set_header", ["X-Forwarded-Proto", "$scheme"]),
]

#: Values that these directives have at least; crossplane does not count them where it does not know the block.
_TWO = set("add_header set fastcgi_param map rewrite error_page try_files proxy_set_header".split())  # noqa: SIM905
_ONE = {
    "listen",
    "proxy_pass",
    "grpc_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "return",
    "location",
    "allow",
    "deny",
    "alias",
    "root",
    "expires",
    "upstream",
    "hash",
    "keepalive",
    "keepalive_timeout",
    "set_real_ip_from",
    "gzip",
    "ssl_certificate",
    "ssl_certificate_key",
    "proxy_hide_header",
    "fastcgi_hide_header",
    "error_log",
    "access_log",
    "client_max_body_size",
    "include",
    "user",
    "if",
}


class MissingPackage(NpserverError):
    """The package that reads nginx's files is not installed. The message says how to install it."""


class Directive(Struct):
    """A directive. `used` is set by who translates it: those that are left over become comments."""

    file: str
    line: int
    name: str
    args: list[str]
    block: list[Directive] | None = None
    used: bool = False
    why: str = ""  # why it has no counterpart

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        """The directive as nginx writes it, without what its block holds."""
        return " ".join([self.name, *self.args]) + (" {...}" if self.block is not None else "")

    def inside(self, *names: str) -> Iterator[Directive]:
        """Yield the directives of its block with one of these names."""
        return (one for one in self.block or () if one.name in names)


class _Reading(Struct):
    directory: str
    files: int = 0
    directives: int = 0
    depth: int = 0  # blocks around the place that is read, and files that include each other
    open_files: list[str] = field(default_factory=list)  # without symbolic links


def read_directives(file: str) -> list[Directive]:
    """Return the directives of a file and of those that it includes.

    Raises: MissingPackage; ConfigError with file and line for what is no nginx config, or exceeds a limit.
    """
    try:
        import crossplane  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise MissingPackage(f"'import' {needs(REQUIREMENT)}") from None
    return _read(file, _Reading(os.path.dirname(file)))


def _read(file: str, reading: _Reading) -> list[Directive]:
    from crossplane import parse

    reading.files += 1
    if reading.files > MAX_FILES:
        raise _error(file, 0, f"more than {MAX_FILES} files are included")
    _check(file)
    payload = parse(file, single=True, check_ctx=False, comments=False)
    for error in payload["errors"]:
        message = str(error["error"]).partition(" in ")[0] or "the file ends within a directive"
        raise _error(file, error["line"] or 0, message)
    reading.open_files.append(os.path.realpath(file))
    found = list(_convert(payload["config"][0]["parsed"], file, reading))
    reading.open_files.pop()
    return found


def _check(file: str) -> None:
    """Refuse a file that is too large, too deep or that cannot be read. Raises: ConfigError."""
    from crossplane.errors import NgxParserBaseException  # type: ignore[import-untyped]
    from crossplane.lexer import lex  # type: ignore[import-untyped]

    try:
        if not os.path.isfile(file):
            raise _error(file, 0, "no such file" if not os.path.exists(file) else "not a file")
        if os.path.getsize(file) > MAX_FILE_BYTES:
            raise _error(file, 0, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        depth = 0
        for token, line, quoted in lex(file):
            if not quoted:
                depth += (token == "{") - (token == "}")
            if depth > MAX_DEPTH:
                raise _error(file, line, f"more than {MAX_DEPTH} blocks inside each other")
    except OSError as error:
        raise _error(file, 0, f"cannot read the file: {error.strerror}") from error
    except NgxParserBaseException as error:
        raise _error(file, error.lineno or 0, error.strerror) from error


def _convert(parsed: list[dict[str, Any]], file: str, reading: _Reading) -> Iterator[Directive]:
    for one in parsed:
        reading.directives += 1
        if reading.directives > MAX_DIRECTIVES:
            raise _error(file, one["line"], f"more than {MAX_DIRECTIVES} directives")
        name, given = one["directive"], len(one["args"])
        least = 2 if name in _TWO else int(name in _ONE or (name == "server" and "block" not in one))
        if given < least:
            raise _error(file, one["line"], f"{clip(name)} needs {least} value{'s' if least > 1 else ''}, got {given}")
        if one["directive"] == "include":
            yield from _include(one["args"], file, one["line"], reading)
            continue
        block = list(_inside(one, file, reading, one["block"])) if "block" in one else None
        yield Directive(file, one["line"], one["directive"], list(one["args"]), block)


def _inside(one: dict[str, Any], file: str, reading: _Reading, parsed: list[dict[str, Any]]) -> Iterator[Directive]:
    reading.depth += 1
    if reading.depth > MAX_DEPTH:
        raise _error(file, one["line"], f"more than {MAX_DEPTH} blocks and files inside each other")
    yield from _convert(parsed, file, reading)
    reading.depth -= 1


def _include(args: list[str], file: str, line: int, reading: _Reading) -> Iterator[Directive]:
    pattern = args[0]
    base = os.path.basename(pattern)
    if base in STANDARD_FILES:
        if base == "proxy_params":
            for name, values in PROXY_PARAMS:
                yield Directive(file, line, name, list(values))
        return
    path = os.path.join(reading.directory, pattern)
    names = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
    if not glob.has_magic(path) and not os.path.exists(path):
        yield Directive(file, line, "include", [pattern], why="there is no such file here")
        return
    if reading.depth >= MAX_DEPTH:
        raise _error(file, line, f"more than {MAX_DEPTH} blocks and files inside each other")
    reading.depth += 1
    for name in names:
        if os.path.realpath(name) in reading.open_files:
            raise _error(file, line, f"{clip(pattern)} includes itself")
        if not os.path.isfile(name) or not os.access(name, os.R_OK):
            why = "not a file" if not os.path.isfile(name) else "no permission to read it"
            raise _error(file, line, f"cannot include {clip(name, 200)}: {why}")
        yield from _read(name, reading)
    reading.depth -= 1


def _error(file: str, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(message, file, line, 1 if line else 0)])
