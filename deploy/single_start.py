"""The start of the single file: chooses the compiled packages of this Python. Written for older versions, too."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TAG = "cp%d%d" % sys.version_info[:2]  # noqa: UP031 - any Python can read it


def main() -> int:
    """Run npserver, where Python runs the file itself. Return the exit status."""
    check()
    sys.path.insert(1, os.path.join(HERE, TAG))
    from npserver.cli import main as run

    return run()


def unpacked() -> int:
    """Note which Python the shell script has chosen: from now on it runs this one without asking. Return 0."""
    check()
    note = os.path.join(os.path.dirname(HERE), "python")
    fresh = "%s.%d" % (note, os.getpid())  # noqa: UP031
    with open(fresh, "w") as file:
        file.write("%s\n%s\n" % (os.path.realpath(sys.executable), TAG))  # noqa: UP031
    os.rename(fresh, note)
    return 0


def check() -> None:
    """End with a message where the file has no packages for this Python."""
    if not os.path.isdir(os.path.join(HERE, TAG)):
        known = sorted("3.%s" % name[3:] for name in os.listdir(HERE) if name.startswith("cp3"))  # noqa: UP031
        message = "npserver: this file is for CPython %s to %s, not %d.%d"
        sys.exit(message % (known[0], known[-1], *sys.version_info[:2]))
