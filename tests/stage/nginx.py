"""A real nginx as an upstream. It inherits its listening socket: connections that come before it runs wait."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stage.waiting import wait_until

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def running_nginx(directory: Path, server: str, *, http: str = "", listen: str = "") -> Iterator[str]:
    """Run nginx with `directory` for its files; yield its URL.

    `server`, `http`: directives of these blocks. `listen`: what the listener is besides, such as `ssl http2`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        blocks = (
            f"http {{ types {{ text/html html; }}\n{http}\n"
            f"server {{ listen 127.0.0.1:{port} {listen}; root {directory}; {server} }} }}\n"
        )
        with _running(directory, blocks, listener.fileno()):
            listener.close()
            yield f"http://127.0.0.1:{port}"


@contextmanager
def running_config(directory: Path, config: str, ports: list[int]) -> Iterator[None]:
    """Run nginx with blocks of a config, the `stream` module included, until it accepts on these TCP ports."""
    with _running(directory, config) as process:
        for port in ports:
            wait_until(lambda port=port: process.poll() is None and _accepts(port), f"nginx to accept on port {port}")
        yield


@contextmanager
def _running(directory: Path, blocks: str, *listener: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx with blocks of a config. `listener`: the descriptor of a socket that it inherits, if there is one."""
    temporary = "".join([f"{name}_temp_path {directory}/{name};\n" for name in _TEMPORARY])
    module = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n" if "stream {" in blocks else ""
    file = directory / "nginx.conf"
    file.write_text(
        f"{module}daemon off; user {getpass.getuser()}; pid {directory}/pid; error_log stderr; events {{}}\n"
        + blocks.replace("http {", f"http {{ access_log off; {temporary}", 1)
    )
    inherited = {"NGINX": f"{listener[0]};"} if listener else {}
    process = subprocess.Popen(
        ["nginx", "-c", str(file), "-p", str(directory)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **inherited},
        pass_fds=listener,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
