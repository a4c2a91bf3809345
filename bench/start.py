"""Time from the start of npserver to its first answer, by several commands: `python -m bench.start COMMAND...`.

The commands take turns, so that all have the same machine; each has been started once before. Told are the best time,
the median, and the ratio of the medians to that of the first command.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
DEADLINE_S = 60.0
PAUSE_S = 0.001  # between two attempts to connect


def first_answer_s(command: str) -> float:
    """Start it with a listener of its own and stop it again; return the seconds until it had answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [command, f"http://127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _is_answered(port):
            if process.poll() is not None or time.perf_counter() - began > DEADLINE_S:
                raise SystemExit(f"{command} does not answer")
            time.sleep(PAUSE_S)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _is_answered(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            client.sendall(REQUEST)
            return client.recv(65_536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description="Time to the first answer.")
    parser.add_argument(
        "commands", nargs="+", metavar="COMMAND", help="such as ./npserver or dist/npserver-1.0.0-x86_64"
    )
    parser.add_argument("--starts", type=int, default=20, help="of each command (20)")
    options = parser.parse_args()
    times: dict[str, list[float]] = {command: [] for command in options.commands}
    for turn in range(options.starts + 1):
        for command, taken in times.items():
            seconds = first_answer_s(command)
            if turn:
                taken.append(seconds)
    first = statistics.median(times[options.commands[0]])
    print("best    median  ratio  command")
    for command, taken in times.items():
        median = statistics.median(taken)
        print(f"{min(taken) * 1000:4.0f} ms {median * 1000:5.0f} ms  {median / first:5.2f}  {command}")


if __name__ == "__main__":
    main()
