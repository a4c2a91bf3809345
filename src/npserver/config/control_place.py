"""The key `control`: where it places the control socket, and what is wrong with that place."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from npserver.errors import clip, reason_of

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Report

MAX_PATH_BYTES = 107  # of sockaddr_un, less the zero byte


def check_control(report: Report) -> None:
    """Report why no socket can be made there. A server starts without it, as it has another one."""
    if fault := place_fault(placed_control(report.document)):
        report.check_error(("control",), f"'control': {fault}")


def placed_control(document: Document) -> str:
    """Return the path that the key `control` names, which begins at the config file's directory; "" without it."""
    named = document.config.control
    return os.path.abspath(os.path.join(document.directory, named)) if named is not None else ""


def place_fault(path: str) -> str:
    """Return why a control socket cannot be at a place that the config names, and what to do; "" if it can."""
    directory = os.path.dirname(path)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        return f"{clip(path)} is longer than the {MAX_PATH_BYTES} bytes that a socket's name may have: shorten it"
    try:
        status = os.stat(directory)
    except OSError as error:
        return f"{clip(directory)}: {reason_of(error)}: make the directory: install -d -m 700 {directory}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{clip(directory)} is not a directory"
    if status.st_uid not in (0, os.geteuid()):
        return f"{clip(directory)} belongs to user {status.st_uid}, who could replace the socket: use another directory"
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return f"others can write to {clip(directory)}, and replace the socket: chmod go-w {directory}"
    if status.st_uid == os.geteuid() and not os.access(directory, os.W_OK | os.X_OK):
        return f"{clip(directory)} cannot be written: chmod u+wx {directory}"
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        return f"{clip(path)} is a file, not a socket: name another one, or remove it"
    return ""
