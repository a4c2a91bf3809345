"""The server's own log: Python's logging with an area per part of the program, written to stderr.

The areas are the loggers `npserver.<area>`, see `observe.config.AREAS`. `logging.level` sets the level of all of them,
`logging.<area>` that of one. Called by `process` at the start, in each child, and after a reload; the
loggers themselves are the only state.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TextIO

from npserver.observe.config import AREAS, Logging
from npserver.observe.escape import escape_control, replace_surrogates

TRACE = 5  # below DEBUG: every step of an exchange
LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}
ALL = "all"
_NAMES = {number: name for name, number in LEVELS.items()}
_COLOURS = {"trace": "2", "debug": "2", "info": "36", "warn": "33", "error": "31", "fatal": "1;31"}


def configure(config: Logging, stream: TextIO | None = None) -> None:
    """Make `npserver.*` log as `config` says, to `stream` (default: stderr as it is now).

    A handler with `outlives_configure` stays: the one that keeps the last errors.
    """
    out = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter() if config.format == "json" else PrettyFormatter(is_coloured(out)))
    root = logging.getLogger("npserver")
    root.handlers = [handler, *[one for one in root.handlers if getattr(one, "outlives_configure", False)]]
    root.propagate = False
    root.setLevel(LEVELS[config.level])
    for area in AREAS:
        level = getattr(config, area)
        logging.getLogger(f"npserver.{area}").setLevel(logging.NOTSET if level is None else LEVELS[level])
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # a closed stderr must not raise


def set_level(area: str, level: str) -> None:
    """Set the level of one area, or of `ALL`, until `configure` is called again. Raises: KeyError."""
    number = LEVELS[level]
    if area == ALL:
        logging.getLogger("npserver").setLevel(number)
    for one in AREAS if area == ALL else (area,):
        logging.getLogger(f"npserver.{one}").setLevel(logging.NOTSET if area == ALL else number)


def log_stray_exceptions() -> None:
    """Log the exceptions that Python would print to stderr itself: of destructors and C callbacks, and of threads."""
    log = logging.getLogger("npserver.server")

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        where = args.err_msg or "exception ignored in"
        log.error("%s %s", where, type(args.object).__name__, exc_info=args.exc_value)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "a thread"
        log.error("exception in %s", name, exc_info=args.exc_value)

    sys.unraisablehook = unraisable
    threading.excepthook = in_thread


def is_coloured(stream: TextIO) -> bool:
    """Return whether to use colours: on a terminal, unless NO_COLOR is set or TERM is `dumb`."""
    try:
        return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def area_of(name: str) -> str:
    """Return the area of the logger `npserver.<area>...`."""
    return name.split(".")[1] if "." in name else "server"


class PrettyFormatter(logging.Formatter):
    """`16:07:01 warn upstream: message`. Further lines are indented, so that none can be mistaken for an entry."""

    def __init__(self, is_coloured: bool) -> None:
        super().__init__()
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        level = _NAMES.get(record.levelno, record.levelname.lower())
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = "\n    ".join(map(escape_control, text.split("\n")))
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        if self._is_coloured:
            return (
                f"\x1b[2m{clock}\x1b[0m \x1b[{_COLOURS.get(level, '0')}m{level:5}\x1b[0m {area_of(record.name)}: {text}"
            )
        return f"{clock} {level:5} {area_of(record.name)}: {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, area, message, pid, and error with the traceback."""

    def __init__(self) -> None:
        super().__init__()
        from json import dumps  # only this form needs it: a start is shorter without

        self._encode = dumps

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": _NAMES.get(record.levelno, record.levelname.lower()),
            "area": area_of(record.name),
            "message": replace_surrogates(record.getMessage()),  # of file names that are not UTF-8
            "pid": record.process,
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return self._encode(entry)
