"""A process that shakes hands with a server, over a new connection each time, with or without resuming its sessions.

Run as `python -m tests.stage.handshakes PORT NAME ROOT COUNT RESUMES`: at least COUNT times, and until its stdin ends.
It trusts the authorities of the file ROOT alone, asks a request each time, and writes the result as JSON. `Handshakes`
is the side of the test.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

from msgspec import Struct, field, json

ROOT = Path(__file__).parents[2]
PACE_S = 0.02  # between connections past the count


class Result(Struct):
    """What came of it."""

    done: int = 0
    resumed: int = 0
    failures: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)  # hashes, in the order in which they were first seen


class Handshakes:
    """The process."""

    def __init__(self, port: int, name: str, root: Path, count: int, *, resumes: bool) -> None:
        words = [str(port), name, str(root), str(count), str(int(resumes))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stage.handshakes", *words],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def finish(self, deadline_s: float) -> Result:
        """Have it end once it has done its count, and return the result."""
        try:
            out, _ = self._process.communicate(timeout=deadline_s)
        finally:
            self._process.kill()
        return json.decode(out, type=Result)


def _shake(
    port: int, name: str, context: ssl.SSLContext, session: ssl.SSLSession | None, result: Result
) -> ssl.SSLSession:
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        with context.wrap_socket(plain, server_hostname=name, session=session) as secure:
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := secure.recv(65536):
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise OSError(f"answered {answer[:60]!r}")
            seen = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
            if seen not in result.certificates:
                result.certificates.append(seen)
            result.resumed += bool(secure.session_reused)
            assert secure.session is not None
            return secure.session


def _main(port: int, name: str, root: str, count: int, resumes: int) -> None:
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
    context, session, result = ssl.create_default_context(cafile=root), None, Result()
    while result.done < count or not enough.is_set():
        try:
            made = _shake(port, name, context, session, result)
            session = made if resumes else None
        except OSError as error:
            result.failures.append(repr(error))
        result.done += 1
        if result.done >= count:
            enough.wait(PACE_S)
    sys.stdout.buffer.write(json.encode(result))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
