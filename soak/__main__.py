"""`make soak ARGS="--minutes 5"`: npserver under full load while things go wrong; nothing may be lost.

Workers and the controller are killed, workers are stopped for a while, the config is reloaded and the program upgraded,
targets go away and come back, descriptors are scarce, the disk under the log is full, the clock jumps. Lost may be only
what a killed worker had in progress. In the last third nothing is killed or upgraded: memory and descriptors are
measured then. The exit status is 1 if anything else was lost, or memory or descriptors grew.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import ssl
import sys
import tempfile
import time
from pathlib import Path

import trustme

from soak.clients import Load
from soak.measures import Measures
from soak.served import choose_ports
from soak.targets import Targets
from soak.trouble import QUIET, TROUBLE, Soak
from tests.stage.clock import Clock
from tests.stage.ports import free_port
from tests.stage.program import Program

SHOWN = 20  # failures


async def run(seconds: float, each: int, seed: int, directory: Path) -> int:
    """Run it and print what came of it. Return the exit status."""
    random.seed(seed)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = directory / "cert.pem", directory / "key.pem"
    certificate.private_key_pem.write_to_path(str(key))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(cert), append=True)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    targets, ports, clock = Targets(), choose_ports(free_port, directory), Clock(directory)
    await targets.open()
    soak = Soak(directory, ports, targets, {"cert": str(cert), "key": str(key)}, clock)
    program = Program([], directory, soak.config(), clock.environment, [])
    soak.begin(program)
    load = soak.load = Load(ports, client_tls, each=each)
    try:
        await asyncio.to_thread(program.wait_for, "npserver 1")
        load.start()
        measures = Measures()
        begun = time.monotonic()
        quiet_from = begun + seconds * 2 / 3
        next_measure = next_trouble = begun + min(3.0, seconds / 10)
        kinds: list[str] = []
        while (now := time.monotonic()) < begun + seconds:
            if now >= next_measure:
                next_measure = now + max(1.0, seconds / 600)
                if now >= quiet_from + min(60.0, seconds / 8):
                    measures.take(soak.pid, soak.counts["reload"] + 2 * soak.counts["disk full"])
            if now >= next_trouble:
                if not kinds or (now >= quiet_from and not set(kinds) <= QUIET):
                    kinds = [one for one in TROUBLE if now < quiet_from or one in QUIET]
                    random.shuffle(kinds)
                await TROUBLE[kinds.pop()](soak)
                next_trouble = time.monotonic() + min(3.0, seconds / 60)
            await asyncio.sleep(0.05)
        await load.stop()
        return report(soak, load, measures, seconds)
    finally:
        await load.abandon()
        await asyncio.to_thread(end, program, soak)
        await targets.close()


def end(program: Program, soak: Soak) -> None:
    """End the server, as it should be ended, and what is left of it."""
    try:
        os.kill(soak.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    deadline = time.monotonic() + 30
    while Path(f"/proc/{soak.pid}/stat").exists() and time.monotonic() < deadline and program.process.poll() is None:
        time.sleep(0.05)
    program.kill()


def report(soak: Soak, load: Load, measures: Measures, seconds: float) -> int:
    """Print what was done, lost and measured. Return the exit status."""
    lost = soak.unexplained()
    excused = len(load.failures) - len(lost)
    print(
        f"{seconds:g} s: {sum(load.done.values())} exchanges: "
        + ", ".join(f"{n} {k}" for k, n in sorted(load.done.items()))
    )
    print("trouble: " + ", ".join(f"{n} {k}" for k, n in sorted(soak.counts.items())))
    print(
        f"lost in killed workers: {excused - soak.refused}; refused while descriptors were scarce: {soak.refused}; "
        f"lost otherwise: {len(lost)}"
    )
    for failure in lost[:SHOWN]:
        at, before = failure.at - soak.begun_at, soak.latest_before(failure.at)
        print(f"  {at:7.2f} s  {failure.client}: {failure.why}  [{before}]")
    errors = soak.program.errors
    tracebacks = re.findall(r"Traceback.*?(?=^\d\d:\d\d:\d\d |\Z)", errors, re.DOTALL | re.MULTILINE)
    for one in tracebacks[:3]:
        print(one)
    grown = measures.report(is_judged=seconds >= 600)
    return 1 if lost or tracebacks or grown else 0


def main() -> int:
    """Parse the command line, and run."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--clients", type=int, default=6, help="of each kind")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of chance, to run it again")
    parser.add_argument("--keep", type=Path, help="an empty directory for logs, which are kept")
    options = parser.parse_args()
    seconds = options.seconds or options.minutes * 60
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="npsoak") as directory:
        return asyncio.run(run(seconds, options.clients, options.seed, options.keep or Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
