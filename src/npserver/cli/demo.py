"""`npserver demo`: sample servers behind an npserver that uses every handler, a page to try them on, and commands."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from npserver.cli.banner import wants_colour
from npserver.errors import StartError, clip

if TYPE_CHECKING:
    from npserver.cli.tour.clients import Place

HELP = """\
usage: npserver demo [-config]

Start sample servers and an npserver that uses every handler, on free loopback ports. Its page is a tour on which each
feature is tried by a click; the commands that are printed do the same in a terminal.

  -config    only print the demo's config, with example ports
"""
_BOLD, _DIM, _CYAN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


def main(words: list[str]) -> int:
    """Run the demo until Ctrl-C. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if words in (["-config"], ["--config"]):
        from npserver.cli.tour.settings import LISTENERS, SAMPLES, make_config

        ports = dict(zip((*SAMPLES, *LISTENERS), range(8001, 8100), strict=False))
        print(json.dumps(make_config(ports, Path("/tmp/npserver-demo")), indent=2))
        return 0
    if words:
        print(f"npserver demo: unknown argument {clip(words[0])}, see npserver demo -help", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="npdemo") as directory:
        return _run(Path(directory))


def _run(directory: Path) -> int:
    from npserver.cli.tour.clients import Place
    from npserver.cli.tour.samples import Samples
    from npserver.cli.tour.server import TourServer
    from npserver.cli.tour.settings import LISTENERS, make_config, write_files
    from npserver.observe import logs
    from npserver.process.config_source import ConfigSource
    from npserver.process.options import RunOptions
    from npserver.process.single_process import run_single_process

    write_files(directory)
    with Samples() as samples, TourServer(samples) as tour:
        ports = samples.ports | {"tour": tour.port} | {name: _free_port() for name in LISTENERS}
        tour.place = place = Place(ports, directory)
        Path(place.config_file).write_text(json.dumps(make_config(ports, directory), indent=2))
        source = ConfigSource(place.config_file)
        document = source.document(source.read())
        logs.configure(document.config.logging)
        announce = lambda *_: print(_table(place), flush=True)  # noqa: E731
        try:
            return run_single_process(RunOptions(source, document, 0, watch=True, announce=announce))
        except StartError as error:
            print(f"npserver demo: {error}: try again", file=sys.stderr)
            return 1


def _table(place: Place) -> str:
    from npserver.cli.tour.steps import STEPS, command_of

    bold, dim, cyan, plain = (_BOLD, _DIM, _CYAN, _PLAIN) if wants_colour() and sys.stdout.isatty() else ("",) * 4
    width = max(len(step.title) for step in STEPS.values())
    lines = [f"{bold}npserver demo{plain} {dim}config: {place.config_file}{plain}", ""]
    lines += [f"  {cyan}{'a tour of all this':<{width}}{plain}  open {place.web}/ in a browser"]
    lines += [f"  {cyan}{step.title:<{width}}{plain}  {command_of(step, place)}" for step in STEPS.values()]
    return "\n".join([*lines, "", f"{dim}Press Ctrl-C to stop.{plain}", ""])


def _free_port() -> int:
    """Return a port that is free for both TCP and UDP."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as stream:
            port = int(stream.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                try:
                    datagram.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
